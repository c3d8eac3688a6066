"""Commands by POST: who may, what is refused, that nothing changes then, and that the router is bounded."""

import contextlib
import http.client
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_dispatch.admin.commands import MAX_BODY, command_at
from lambda_dispatch.admin.server import MAX_CLIENTS
from lambda_dispatch.admin.stream import MAX_STREAMS
from lambda_dispatch_core.board import board as b
from tests.process.test_admin import TOKEN, Answer, Events, admin_pid, ask
from tests.support.supervised import DEADLINE, Router, until

READ_TOKEN = "a-token-that-only-reads"
KEYED = {"authorization": f"Bearer {TOKEN}"}
PATHS = [
    "/api/v1/pools/fake/limits",
    "/api/v1/pools/fake/pause",
    "/api/v1/pools/fake/resume",
    "/api/v1/pools/fake/recycle",
    "/api/v1/pools/fake/breaker",
    "/api/v1/instances/c0ffee00/drain",
    "/api/v1/router/drain",
    "/api/v1/router/undrain",
    "/api/v1/log-level",
    "/api/v1/reload",
]


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router(
        workers=1, real=True, admin_port=0, admin_token=TOKEN, admin_read_token=READ_TOKEN, min_instances=1
    ) as router:
        yield router


def post(router: Router, path: str, body: Any = None, **fields: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps({"reason": "a test"} if body is None else body).encode()
    return ask(router.ports["admin"], path, "POST", data, **{"content_type": "application/json", **fields})


def commands(router: Router) -> int:
    board = router.board()
    try:
        return board.commands
    finally:
        board.close()


def test_every_path_of_a_command_is_one() -> None:
    assert [path for path in PATHS if command_at(path) is None] == []
    assert command_at("/api/v1/pools/a/b/limits") == {"op": "limits", "pool": "a/b"}
    assert command_at("/api/v1/pools/limits") is None and command_at("/api/v1/state") is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {READ_TOKEN}"}, 403),
        ({**KEYED, "origin": "https://evil.test"}, 403),
        ({**KEYED, "origin": "null"}, 403),
        ({**KEYED, "host": "evil.test"}, 403),
        ({**KEYED, "sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 403),
        ({**KEYED, "content_type": "text/plain"}, 415),
        ({**KEYED, "content_type": "application/x-www-form-urlencoded"}, 415),
        ({**KEYED, "content_type": ""}, 415),
    ],
)
def test_who_may_not_is_refused_with_a_reason_and_nothing_changes(
    router: Router, path: str, fields: dict[str, str], code: int
) -> None:
    before = commands(router)
    answer = post(router, path, **fields)
    assert answer.status == code and len(answer.text) > 10
    assert (answer.headers.get("www-authenticate") == 'Bearer realm="lambda-dispatch"') == (code == 401)
    assert commands(router) == before


@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_refused_on_a_command(router: Router, path: str) -> None:
    before = commands(router)
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = ask(router.ports["admin"], path, method, None, **KEYED)
        assert answer.status == 405 and answer.headers["allow"] == "POST"
    assert commands(router) == before


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"{", 400, "one JSON object"),
        (b"[]", 400, "one JSON object"),
        (b"\xff\xff", 400, "one JSON object"),
        (b"[" * 2000, 400, "one JSON object"),
        (b" " * (MAX_BODY + 1), 413, "the body is over"),
        ({"min": 5, "max": 2, "reason": "x"}, 400, "min 5 is more than max 2"),
        ({"max": 0, "reason": "x"}, 400, "MinInstances 1 is more than max 0"),
        ({"min": 5}, 400, "needs a reason"),
        ({"min": 5, "reason": "x", "pool": "other"}, 400, "pool stands in the path"),
        ({"min": 5, "reason": "x", "op": "reload"}, 400, "op stands in the path"),
        ({"min": "5", "reason": "x"}, 400, "must be a whole number"),
        ({"min": 5, "reason": "x", "who": "x" * 30}, 400, "who must be"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_with_a_reason(router: Router, body: Any, code: int, said: str) -> None:
    before = commands(router)
    answer = post(router, "/api/v1/pools/fake/limits", body, **KEYED)
    assert answer.status == code and said in answer.text
    assert commands(router) == before


def test_a_pool_or_an_instance_that_is_not_there_is_not_found(router: Router) -> None:
    assert post(router, "/api/v1/pools/nobody/pause", **KEYED).status == 404
    assert post(router, "/api/v1/instances/00000000/drain", **KEYED).status == 404
    assert post(router, "/api/v1/instances/zzz/drain", **KEYED).status == 400


def test_limits_are_set_shown_in_the_state_and_cleared(router: Router) -> None:
    port = router.ports["admin"]
    body = {"min": 2, "max": 9, "ttl": 600, "reason": "a sale", "who": "Zoë"}
    answer = json.loads(post(router, "/api/v1/pools/fake/limits", body, **KEYED).text)
    assert answer["changed"] and answer["pool"]["overrides"][0]["says"] == "min 2, max 9"
    shown = json.loads(ask(port, "/api/v1/state", authorization=f"Bearer {READ_TOKEN}").text)
    (it,) = shown["overrides"]
    assert (it["kind"], it["function"], it["who"], it["reason"]) == ("limits", "fake", "Zoë 127.0.0.1", "a sale")
    assert 590_000 < it["until_ms"] - shown["taken_ms"] <= 600_000 and shown["control"] == "token"
    assert 'lambda_dispatch_override_active{function="fake",kind="limits"} 1' in ask(port, "/metrics", **KEYED).text
    post(router, "/api/v1/pools/default/limits", {"clear": True, "reason": "over"}, **KEYED)
    assert json.loads(ask(port, "/api/v1/state", **KEYED).text)["overrides"] == []
    assert 'override_active{function="fake",kind="limits"} 0' in ask(port, "/metrics", **KEYED).text


def test_a_drained_router_is_not_ready_until_it_is_taken_back(router: Router) -> None:
    port = router.ports["admin"]
    board = router.board(write=True)
    now = time.monotonic_ns()
    slot, generation = board.allocate_instance(0, os.urandom(16), 10, now, now + 10**12) or (0, 0)
    board.open_instance(slot, generation, now)
    until(lambda: ask(port, "/readyz").status == 200, "a router that is ready")
    assert json.loads(post(router, "/api/v1/router/drain", **KEYED).text)["router"]["draining"]
    assert (ask(port, "/readyz").status, ask(port, "/readyz").text) == (503, "drained by a command\n")
    assert ask(port, "/livez").status == 200
    assert not json.loads(post(router, "/api/v1/router/undrain", {}, **KEYED).text)["router"]["draining"]
    assert ask(port, "/readyz").status == 200
    board.close_instance(slot, generation, now)
    board.close()


def test_without_a_token_commands_are_off_and_with_open_control_they_are_not() -> None:
    with Router(workers=1, admin_port=0) as router:
        answer = post(router, "/api/v1/reload", {})
        assert answer.status == 403 and "set AdminToken" in answer.text
        assert "configuration reloaded" not in router.log()
    with Router(workers=1, admin_port=0, admin_open_control=True, admin_token=TOKEN) as router:
        assert post(router, "/api/v1/reload", {}).status == 401
    with Router(workers=1, admin_port=0, admin_open_control=True) as router:
        assert post(router, "/api/v1/log-level", {"level": "error"}, origin="https://evil.test").status == 403
        assert post(router, "/api/v1/log-level", {"level": "error"}, content_type="text/plain").status == 415
        assert post(router, "/api/v1/reload", {}).status == 200
        assert "configuration reloaded by=command" in router.log()


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with Router(workers=1, admin_port=0, admin_token_file=str(file)) as router:
        port = router.ports["admin"]
        assert ask(port, "/api/v1/state").status == 401
        assert ask(port, "/api/v1/state", **KEYED).status == 200
        (tmp_path / "next").write_text("another-token-of-some-length")
        (tmp_path / "next").replace(file)
        assert ask(port, "/api/v1/state", **KEYED).status == 401
        assert ask(port, "/api/v1/state", authorization="Bearer another-token-of-some-length").status == 200
        file.unlink()
        assert ask(port, "/api/v1/state", authorization="Bearer another-token-of-some-length").status == 200
        file.write_text("short")
        assert ask(port, "/api/v1/state", authorization="Bearer short").status == 401
        assert "admin key not read" in router.log() and "another-token" not in router.log()


def test_read_only_lets_everybody_read_and_nobody_act() -> None:
    with Router(workers=1, admin_port=0, admin_token=TOKEN, admin_read_only=True) as router:
        assert ask(router.ports["admin"], "/api/v1/state").status == 200
        assert post(router, "/api/v1/reload", {}).status == 401
        assert post(router, "/api/v1/reload", {}, **KEYED).status == 200


def test_random_paths_and_bodies_break_nothing(router: Router) -> None:
    chance = random.Random(20)
    port, pid = router.ports["admin"], until(lambda: admin_pid(router), "the admin process")
    words = [
        "api",
        "v1",
        "pools",
        "fake",
        "limits",
        "instances",
        "drain",
        "router",
        "",
        "..",
        "%00",
        "%2f",
        "é",
        "a" * 300,
    ]
    values: list[Any] = [None, True, -1, 0, 3, 1e308, "x", "", [], {}, [[]], "\u0000", 2**70, "min", {"a": {"b": 1}}]
    names = ["min", "max", "ttl", "reason", "clear", "level", "max_unavailable", "stop", "who", "op", "x" * 50, ""]
    for number in range(400):
        path = chance.choice(PATHS) if number % 2 else "/" + "/".join(chance.choices(words, k=chance.randint(0, 6)))
        body: Any = {chance.choice(names): chance.choice(values) for _ in range(chance.randint(0, 5))}
        if number % 7 == 0:
            body = chance.randbytes(chance.randint(0, 200))
        elif number % 11 == 0:
            body = json.dumps(body).encode()[: chance.randint(0, 30)]
        if path.endswith(("reload", "log-level")):
            continue
        answer = post(router, path.encode("latin-1", "replace").decode("latin-1").replace("é", "%c3%a9"), body, **KEYED)
        assert answer.status in (200, 400, 404, 405, 413), (path, body, answer.status, answer.text)
    assert admin_pid(router) == pid and "Traceback" not in router.log()
    assert ask(port, "/livez").status == 200


def test_full_of_clients_and_slow_streams_it_stays_small_and_others_are_served() -> None:
    with Router(workers=1, admin_port=0, admin_open_control=True) as router, contextlib.ExitStack() as stack:
        port = router.ports["admin"]
        board = router.board(write=True)
        now = time.monotonic_ns()
        for _ in range(1000):
            taken = board.allocate_instance(0, os.urandom(16), 10, now, now + 10**12)
            assert taken is not None
            board.open_instance(*taken, now)
        for number in range(MAX_STREAMS):
            if number % 2:
                stack.callback(Events(port).close)
                continue
            # Reads the head and then nothing more.
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(DEADLINE)
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
            stack.callback(sock.close)
        for _ in range(MAX_CLIENTS - MAX_STREAMS - 2):
            sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
            sock.sendall(b"POST /api/v1/pools/fake/pause HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999\r\n\r\n{")
            stack.callback(sock.close)
        for round in range(5):
            assert json.loads(post(router, "/api/v1/pools/fake/limits", {"max": 5 + round, "reason": "x"}).text)["ok"]
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        client.request("GET", "/api/v1/state")
        assert len(json.loads(client.getresponse().read())["instances"]) == 1000
        client.close()
        pid = until(lambda: admin_pid(router), "the admin process")
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 150 * 1024 * 1024, f"{resident >> 20} MiB"
        assert router.pids(b.WORKER_READY)
        board.close()
