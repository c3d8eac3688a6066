"""One function served directly and dispatched at once, as while moving from a function URL to the router and back.

The default is sized for the suite; LAMBDA_DISPATCH_SWITCH_REQUESTS=10000 runs the whole load each way.
"""

import hashlib
import http.client
import json
import os
import random
import sys
import threading
from pathlib import Path

import pytest

from tests.support.dev_run import dev_run

pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("LAMBDA_DISPATCH_SWITCH_REQUESTS", "300"))  # each way
CLIENTS = 4  # each way

APP = r"""
import hashlib, http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind); self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Direct", str("x-amzn-request-context" in self.headers).lower())
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        n = int(self.path[1:] or 0) if self.path[1:].isdigit() else 0
        self.answer(bytes((n + i) & 255 for i in range(n)), "application/octet-stream")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        self.answer(json.dumps(told).encode(), "application/json")
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Clients:
    """Each keeps a connection and sends one request after the other; the first thing that is wrong ends all."""

    def __init__(self, port: int, way: str) -> None:
        self.port = port
        self.way = way
        self.done = 0
        self.wrong: list[str] = []
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(CLIENTS)]

    def run(self, number: int) -> None:
        dice = random.Random(f"{self.way}{number}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            for _ in range(REQUESTS // CLIENTS):
                if self.wrong:
                    return
                size = dice.choice([0, 1, 200, 3000, dice.randrange(20_000)])
                if dice.random() < 0.5:
                    connection.request("GET", f"/{size}")
                    expected = bytes((size + i) & 255 for i in range(size))
                else:
                    sent = dice.randbytes(size)
                    connection.request("POST", "/", sent, {"Content-Type": "application/octet-stream"})
                    told = {"length": size, "sha256": hashlib.sha256(sent).hexdigest()}
                    expected = json.dumps(told).encode()
                response = connection.getresponse()
                body = response.read()
                direct = response.headers["x-direct"]
                if (response.status, body) != (200, expected) or direct != str(self.way == "direct").lower():
                    self.wrong.append(f"{self.way}: status {response.status} x-direct {direct} {body[:200]!r}")
                self.done += 1
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{self.way}: {error!r}")
        finally:
            connection.close()


def test_a_function_is_served_both_ways_at_once_and_every_byte_is_right(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    application = [sys.executable, "-S", str(tmp_path / "app.py")]
    options = ["--workers", "1", "--direct-port", "0", "--max-environments", "12"]
    with dev_run(*options, "--env", "PYTHONDONTWRITEBYTECODE=1", "--", *application) as run:
        run.wait_for_line("the first environment is ready")
        ways = [Clients(run.port("router"), "dispatched"), Clients(run.port("direct mode"), "direct")]
        threads = [thread for way in ways for thread in way.threads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [wrong for way in ways for wrong in way.wrong] == []
        assert [way.done for way in ways] == [REQUESTS // CLIENTS * CLIENTS] * 2
        assert run.interrupt() == 0
