"""What tracing costs: CPU per request of the worker, and of the processes beside it: off, at 1 % and for all.

    python -m benchmarks.load.tracing [--rounds N] [--seconds N] [--instructions]

Three routers run in turn, so that all have the same machine. The requests bring no context: each sampled one begins a
trace. The collector takes everything and looks at nothing. With --instructions the workers run under valgrind's
callgrind instead, and what they execute is counted (instructions.py says when that is the better figure).
"""

from __future__ import annotations

import argparse
import http.server
import statistics
import threading

from benchmarks.load.contestants import ours
from benchmarks.load.instructions import count
from benchmarks.load.machine import PROGRAMS, Missing, Stage, check
from benchmarks.load.race import CASES, Score, measure

SHARES = {"off": None, "1 %": "0.01", "all": "1"}


class Sink:
    """A collector that takes everything."""

    def __init__(self) -> None:
        self.exports = self.bytes = 0
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sink.exports += 1
                sink.bytes += len(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def environment(share: str | None, url: str) -> dict[str, str]:
    if share is None:
        return {"OTEL_TRACES_EXPORTER": "none"}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": share,
    }


def instructions(rounds: int, seconds: float) -> None:
    print(f"{'tracing':8} {'instructions/request':>22}")
    for name, share in SHARES.items():
        figures = count("4b-64", rounds, seconds, None, environment(share, Sink().url))
        print(f"{name:8} {statistics.median(figures):22,.0f}", flush=True)


def times(rounds: int, seconds: float) -> None:
    case = CASES["4b-64"]
    with Stage() as stage:
        sinks = {name: Sink() for name in SHARES}
        routers = {name: ours(stage, environ=environment(share, sinks[name].url)) for name, share in SHARES.items()}
        scores = {name: Score() for name in SHARES}
        for number in range(rounds + 1):  # the first warms up
            for name, router in routers.items():
                measure(stage, router, case, seconds if number else 1, scores[name] if number else None)
        off = statistics.median(scores["off"].cpu)
        print(f"{'tracing':8} {'us/req':>8} {'more':>8} {'beside':>8} {'exports':>8} {'bytes':>12}")
        for name, score in scores.items():
            worker, beside = statistics.median(score.cpu), statistics.median(score.beside)
            more = statistics.median(a - b for a, b in zip(score.cpu, scores["off"].cpu, strict=True))
            sink = sinks[name]
            print(f"{name:8} {worker:8.2f} {more:+8.2f} {beside:8.2f} {sink.exports:8,} {sink.bytes:12,}", flush=True)
        print(f"median of {rounds} rounds, {case.title}; off: {off:.2f} us")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--instructions", action="store_true", help="count with callgrind; needs valgrind")
    options = parser.parse_args()
    try:
        check({"wrk": PROGRAMS["wrk"]})
    except Missing as error:
        parser.exit(2, f"tracing: {error}\n")
    (instructions if options.instructions else times)(options.rounds, options.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
