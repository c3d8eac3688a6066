"""The embedded Lambda's streams and event shapes, with the extension as the runtime of a real application."""

import http.client
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambda_dispatch.local.function import Function
from tests.support.local_lambda import Running, python_function, running_lambda

APP = r"""
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def piece(self, data):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data)); self.wfile.flush()
    def do_GET(self):
        self.send_response(201 if self.path == "/status" else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Set-Cookie", "a=1"); self.send_header("Set-Cookie", "b=2")
        if self.path.startswith("/gated"):
            self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            self.piece(b"first")
            while not os.path.exists(os.environ["GATE"]): time.sleep(0.005)
            self.piece(b"second"); self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/broken":
            self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            self.piece(b"half"); self.close_connection = True
        elif self.path.startswith("/big"):
            n = 20_000_000
            self.send_header("Content-Length", str(n)); self.end_headers()
            for i in range(20): self.wfile.write(bytes([i]) * 1_000_000)
        else:
            body = repr((self.path, sorted(self.headers.items()))).encode() if self.path != "/health" else b"ok"
            self.send_header("Content-Length", str(len(body))); self.end_headers()
            self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def app(tmp_path: Path, **environ: str) -> Function:
    (tmp_path / "app.py").write_text(APP)
    environment = {"GATE": str(tmp_path / "gate"), "LAMBDA_DISPATCH_ENABLE_COMPRESSION": "false", **environ}
    return Function(
        "web", (sys.executable, "-S", str(tmp_path / "app.py")), runtime="dispatch", environment=environment
    )


STREAM = {"LAMBDA_DISPATCH_INVOKE_MODE": "response_stream"}


def ask(running: Running, method: str, path: str, body: bytes | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", running.local.direct_port, timeout=30)
    try:
        connection.request(method, path, body, {"X-Tag": "one"})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_a_function_url_in_stream_mode_streams(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path, **STREAM), direct="web", mode="response_stream") as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.local.direct_port, timeout=30)
        connection.request("GET", "/gated")
        response = connection.getresponse()
        assert (response.status, response.headers["transfer-encoding"]) == (200, "chunked")
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert response.read1() == b"first"  # the rest has not been sent yet
        (tmp_path / "gate").touch()
        assert response.read() == b"second"
        connection.request("GET", "/status")  # on the same connection
        assert connection.getresponse().status == 201
        connection.close()
        big = ask(running, "GET", "/big")[1]
        assert big == b"".join(bytes([i]) * 1_000_000 for i in range(20))


def test_a_stream_that_breaks_off_breaks_off_for_the_client(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path, **STREAM), direct="web", mode="response_stream") as running:
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            ask(running, "GET", "/broken")
        assert ask(running, "GET", "/status")[0].status == 201


@pytest.mark.parametrize("shape", ["url", "v2", "v1", "alb", "alb-multi"])
def test_every_event_shape_goes_to_the_application_and_back(tmp_path: Path, shape: str) -> None:
    with running_lambda(app(tmp_path), direct="web", event=shape) as running:
        response, body = ask(running, "GET", "/a%20b?x=1&x=2&y=%C3%A9+%26" if shape != "alb" else "/a%20b?y=%C3%A9+%26")
        query = "y=%C3%A9+%26" if shape == "alb" else "x=1&x=2&y=%C3%A9+%26"
        assert body.startswith(repr((f"/a%20b?{query}", 0))[:-3].encode())
        assert response.headers.get_all("set-cookie") == (["a=1"] if shape == "alb" else ["a=1", "b=2"])
        every = bytes(range(256))
        assert ask(running, "POST", "/", every)[1] == every


def test_boto3_invokes_with_a_response_stream(tmp_path: Path) -> None:
    with running_lambda(app(tmp_path, **STREAM)) as running:
        event = {"rawPath": "/gated", "rawQueryString": "", "headers": {"host": "h"},
                 "requestContext": {"http": {"method": "GET", "path": "/gated"}}}  # fmt: skip

        def invoke(path: str, **more: str) -> Any:
            event["rawPath"] = path
            return running.client.invoke_with_response_stream(
                FunctionName="web", Payload=json.dumps(event).encode(), **more
            )

        answer = invoke("/gated")
        assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
        seen = b""
        for message in answer["EventStream"]:
            if "PayloadChunk" in message:
                seen += message["PayloadChunk"]["Payload"]
                if seen.endswith(b"first"):
                    (tmp_path / "gate").touch()
            else:
                assert message == {"InvokeComplete": {}}
        prelude, _, body = seen.partition(bytes(8))
        assert (json.loads(prelude)["cookies"], body) == (["a=1", "b=2"], b"firstsecond")
        *_, last = invoke("/broken", LogType="Tail")["EventStream"]
        assert last["InvokeComplete"]["ErrorCode"] == "Runtime.StreamError"
        assert "application" in json.loads(last["InvokeComplete"]["ErrorDetails"])["errorMessage"]
        assert last["InvokeComplete"]["LogResult"]
        with pytest.raises(ClientError, match="Function not found"):
            running.client.invoke_with_response_stream(FunctionName="none")


def test_a_function_that_does_not_stream_answers_in_one_piece_or_with_its_error(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:

        def messages(event: object) -> list[Any]:
            answer = running.client.invoke_with_response_stream(FunctionName="f", Payload=json.dumps(event).encode())
            return list(answer["EventStream"])

        chunk, end = messages({"a": 1})
        assert json.loads(chunk["PayloadChunk"]["Payload"])["event"] == {"a": 1}
        assert end == {"InvokeComplete": {}}
        (failed,) = messages({"error": "no"})
        assert failed["InvokeComplete"]["ErrorCode"] == "Unhandled"
        *chunks, end = messages({"stream": True})
        assert b"".join(one["PayloadChunk"]["Payload"] for one in chunks) == b'{"a":1}'


def test_curl_against_the_function_url(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for mode, env in (("buffered", {}), ("response_stream", STREAM)):
        with running_lambda(app(tmp_path, **env), direct="web", mode=mode) as running:
            url = f"http://127.0.0.1:{running.local.direct_port}"
            done = subprocess.run(
                ["curl", "-sSi", "--data-binary", "@-", f"{url}/x"], input=bytes(range(256)), capture_output=True
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            assert (done.returncode, body) == (0, bytes(range(256))), done.stderr
            assert head.startswith(b"HTTP/1.1 200 OK")
            head_only = subprocess.run(["curl", "-sS", "-I", f"{url}/status"], capture_output=True, timeout=30)
            assert b" 501 " in head_only.stdout  # the application knows no HEAD
