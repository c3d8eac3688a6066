"""One function served directly and dispatched at once, as while a team moves from a function URL to the router.

    python -m benchmarks.load.direct_switch [--requests 10000] [--clients 4] [--mode response_stream]

So many requests each way, at the same time, to the same image with the same extension. Each request sends a body of its
own and compares what comes back byte for byte; the exit code is 1 if any byte, status or way is wrong.
"""

import argparse
import http.client
import random
import statistics
import sys
import threading
import time

from benchmarks.load.rig import Rig

SIZES = (0, 1, 200, 3000, 20_000, 200_000)  # bytes; a body may be as long as one of these, or as a random part of it


class Clients:
    """Each keeps a connection and sends one request after the other; the first thing that is wrong ends all."""

    def __init__(self, port: int, way: str, requests: int, clients: int) -> None:
        self.port = port
        self.way = way
        self.share = requests // clients
        self.done = 0
        self.bytes = 0
        self.seconds = 0.0
        self.times: list[float] = []
        self.wrong: list[str] = []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self.way}{number}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        began = time.perf_counter()
        try:
            for _ in range(self.share):
                if self.wrong:
                    return
                size = dice.choice(SIZES)
                sent = dice.randbytes(size if dice.random() < 0.5 else dice.randrange(size + 1))
                asked = time.perf_counter()
                connection.request("POST", "/echo", sent, {"Content-Type": "application/octet-stream"})
                response = connection.getresponse()
                body = response.read()
                self.times.append(time.perf_counter() - asked)
                # Lambda's own answers name their invoke.
                direct = "x-amzn-requestid" in response.headers
                if (response.status, body, direct) != (200, sent, self.way == "direct"):
                    self.wrong.append(f"{self.way}: status {response.status} direct {direct} {body[:100]!r}")
                    return
                self.done += 1
                self.bytes += len(sent)
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{self.way}: {error!r}")
        finally:
            connection.close()
            self.seconds = max(self.seconds, time.perf_counter() - began)


def run(ways: list[Clients]) -> None:
    """All clients of all ways at once, to their end."""
    threads = [thread for way in ways for thread in way.threads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="each way, default 10000")
    parser.add_argument("--clients", type=int, default=4, help="each way, default 4")
    parser.add_argument("--mode", choices=("buffered", "response_stream"), default="buffered")
    given = parser.parse_args()
    with Rig(workers=1, direct_mode=given.mode) as rig:
        ports = {"dispatched": rig.port, "direct": rig.direct_port}
        ways = [Clients(port, way, given.requests, given.clients) for way, port in ports.items()]
        run(ways)
        environments = len(rig.environments())
    for way in ways:
        whole = [1000 * each for each in statistics.quantiles(way.times or [0.0, 0.0], n=100)]
        print(
            f"{way.way:10}  {way.done} requests  {way.bytes / 1e6:.0f} MB each direction  {len(way.wrong)} wrong  "
            f"{way.done / way.seconds:.0f}/s  p50 {whole[49]:.1f} ms  p99 {whole[98]:.1f} ms"
        )
    print(f"{environments} environments at the end")
    for line in [line for way in ways for line in way.wrong]:
        print(line, file=sys.stderr)
    return 1 if any(way.wrong for way in ways) else 0


if __name__ == "__main__":
    sys.exit(main())
