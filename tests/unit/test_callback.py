import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lambda_dispatch.callback import Callback, find
from lambda_dispatch.config import RouterConfig

CONFIG = RouterConfig(function_name="app")
NO_EC2 = {"AWS_EC2_METADATA_DISABLED": "true"}

Answer = tuple[int, bytes]


class _Server(ThreadingHTTPServer):
    answer: Callable[[str, str, dict[str, str]], Answer]
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, body = self.server.answer(self.command, self.path, headers)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def metadata(answer: Callable[[str, str, dict[str, str]], Answer]) -> Iterator[tuple[str, list[str]]]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.answer, server.asked = answer, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def task(networks: object) -> bytes:
    return json.dumps({"Networks": networks, "TaskARN": "arn:aws:ecs:us-east-2:1:task/blue/abc"}).encode()


def imds(method: str, path: str, headers: dict[str, str]) -> Answer:
    if (method, path) == ("PUT", "/latest/api/token") and "x-aws-ec2-metadata-token-ttl-seconds" in headers:
        return 200, b"the-token"
    if path == "/latest/meta-data/local-ipv4" and headers.get("x-aws-ec2-metadata-token") == "the-token":
        return 200, b"10.1.2.3\n"
    return 401, b""


def test_the_configured_host_is_asked_nobody_about() -> None:
    config = RouterConfig(function_name="app", callback_host="router.internal")
    found = find(config, {"K8S_POD_IP": "10.0.0.1"})
    assert found.url("https", 5004) == "https://router.internal:5004/api/chunked"


def test_an_ipv6_address_gets_its_brackets() -> None:
    assert find(CONFIG, {"K8S_POD_IP": "fd00::7"}).url("http", 5003) == "http://[fd00::7]:5003/api/chunked"


def test_the_named_variable_comes_next() -> None:
    config = RouterConfig(function_name="app", env_var_for_callback_ip="POD")
    assert find(config, {"POD": "10.0.0.1", "K8S_POD_IP": "10.0.0.2"}) == Callback("10.0.0.1", "POD")


def test_ecs_gives_the_awsvpc_address_and_the_cluster() -> None:
    body = task(
        [
            {"NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"]},
            {"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.2.106"]},
        ]
    )
    with metadata(lambda *_: (200, body)) as (url, asked):
        found = find(CONFIG, {"ECS_CONTAINER_METADATA_URI_V4": url + "/v4/abc"})
        assert found == Callback("10.0.2.106", "ECS task metadata", "blue")
        assert asked == ["GET /v4/abc"]


def test_ec2_is_asked_with_a_session_token() -> None:
    with metadata(imds) as (url, asked):
        found = find(CONFIG, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url})
        assert found == Callback("10.1.2.3", "EC2 instance metadata")
        assert asked == ["PUT /latest/api/token", "GET /latest/meta-data/local-ipv4"]


def test_an_ecs_task_without_awsvpc_falls_through_to_ec2() -> None:
    body = task([{"NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"]}])
    with metadata(lambda *_: (200, body)) as (ecs, _), metadata(imds) as (ec2, _):
        environ = {"ECS_CONTAINER_METADATA_URI_V4": ecs, "AWS_EC2_METADATA_SERVICE_ENDPOINT": ec2}
        assert find(CONFIG, environ).host == "10.1.2.3"


def test_answers_that_make_no_sense_are_passed_over() -> None:
    for answer in ((200, b"not json"), (200, b"[]"), (200, b'{"Networks": [{}]}'), (500, b"{}")):
        with metadata(lambda *_, answer=answer: answer) as (url, _):  # type: ignore[misc]
            environ = {"ECS_CONTAINER_METADATA_URI_V4": url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
            assert find(CONFIG, environ) == Callback("127.0.0.1", "nothing else found")


def test_nothing_there_is_loopback() -> None:
    assert find(CONFIG, {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/v4", **NO_EC2}).host == "127.0.0.1"
    assert find(CONFIG, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}).host == "127.0.0.1"
