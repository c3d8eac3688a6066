"""Direct mode: an application behind Lambda's own dispatch, one request per environment."""

import concurrent.futures
import http.client
import json
import sys
from pathlib import Path

from lambda_dispatch.local.function import Function
from tests.support.local_lambda import Running, running_lambda, wait_for

APP = r"""
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        self.send_response(200)
        if self.path == "/health":
            body = b"ok"
        elif self.path == "/big":
            body = b"\x00" * (6 * 1024 * 1024)
        elif self.path.startswith("/hold"):
            open(sys.argv[1] + "-" + str(os.getpid()), "w").close()
            while not os.path.exists(sys.argv[1]): time.sleep(0.005)
            body = str(os.getpid()).encode()
        elif self.path == "/close":
            self.close_connection = True
            body = b"closed"
        else:
            body = self.path.encode()
        self.send_header("Set-Cookie", "a=1"); self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(519)
        self.send_header("Content-Type", self.headers["Content-Type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def app(tmp_path: Path) -> Function:
    (tmp_path / "app.py").write_text(APP)
    command = (sys.executable, "-S", str(tmp_path / "app.py"), str(tmp_path / "gate"))
    return Function("web", command, runtime="direct")


def ask(
    running: Running, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", running.local.direct_port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_requests_go_through_events_and_back(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path), direct="web") as running:
        response, body = ask(running, "GET", "/a%2Fb//?c=1&c=%C3%A9")
        assert (response.status, body) == (200, b"/a%2Fb//?c=1&c=%C3%A9")
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        for kind, sent in (("application/octet-stream", bytes(range(256))), ("text/plain", b"plain"), ("x/y", b"")):
            response, body = ask(running, "POST", "/", sent, Content_Type=kind)
            assert (response.status, body, response.headers["content-type"]) == (519, sent, kind)
        assert [ask(running, "GET", "/close")[1] for _ in range(3)] == [b"closed"] * 3
        assert running.statistics("web")["cold_starts"] == 1


def test_six_megabytes_are_the_limit_both_ways(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path), direct="web") as running:
        assert ask(running, "POST", "/", b"\x00" * 5_000_000, Content_Type="x/y")[0].status == 413  # as base64
        assert ask(running, "POST", "/", b"\x00" * 7_000_000, Content_Type="x/y")[0].status == 413
        response, body = ask(running, "POST", "/", b"\x00" * 4_000_000, Content_Type="x/y")
        assert (response.status, len(body)) == (519, 4_000_000)
        assert ask(running, "GET", "/big")[0].status == 502


def test_each_request_at_once_has_an_environment_of_its_own(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path), direct="web") as running, concurrent.futures.ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(ask, running, "GET", "/hold") for _ in range(5)]
        wait_for(lambda: len(list(tmp_path.glob("gate-*"))) == 5)
        (tmp_path / "gate").touch()
        assert len({answer.result()[1] for answer in asked}) == 5
        assert running.statistics("web")["busy_peak"] == 5


def test_past_the_concurrency_limit_requests_are_429(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path), direct="web", concurrency=0) as running:
        response, body = ask(running, "GET", "/")
        assert (response.status, json.loads(body)) == (429, {"Message": "Rate Exceeded."})


def test_an_application_that_does_not_start_is_502(tmp_path: Path) -> None:
    function = Function("web", ("/no/such/app",), runtime="direct")
    with running_lambda(function, direct="web") as running:
        assert ask(running, "GET", "/")[0].status == 502
        assert any("/no/such/app: No such file or directory" in line for line in running.lines)
