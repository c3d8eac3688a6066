"""The admin process under a real supervisor: what it shows, whom it refuses, and that its death costs nothing."""

import contextlib
import gzip
import http.client
import json
import math
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_dispatch import cli, healthcheck
from lambda_dispatch.admin.server import MAX_CLIENTS
from lambda_dispatch.admin.stream import MAX_STREAMS
from lambda_dispatch.scaler.verdict import EXIT_NAMES
from lambda_dispatch.telemetry import status, view
from lambda_dispatch_core.board.board import Decision
from tests.support.supervised import DEADLINE, ROOT, Router, descendants, until

TOKEN = "a-token-of-some-length"


class Answer:
    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.status = found.status
        self.headers = {name.lower(): value for name, value in found.getheaders()}
        self.body = found.read()

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None, **fields: str) -> Answer:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        client.request(method, path, body, headers)
        return Answer(client.getresponse())
    finally:
        client.close()


def admin_pid(router: Router) -> int:
    """0 while there is none."""
    for pid in descendants(router.process.pid):
        with contextlib.suppress(OSError):
            if b"lambda-dispatch: admin" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router(workers=2, admin_port=0) as router:
        yield router


@pytest.fixture(scope="module")
def guarded() -> Iterator[Router]:
    with Router(workers=1, admin_port=0, admin_token=TOKEN, admin_host="0.0.0.0") as router:
        yield router


def test_probes_and_metrics(router: Router) -> None:
    port = router.ports["admin"]
    assert (ask(port, "/livez").status, ask(port, "/livez").text) == (200, "OK\n")
    assert ask(port, "/readyz").status == 200
    assert ask(port, "/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    until(
        lambda: 'lambda_dispatch_workers{state="ready"} 2\n' in ask(port, "/metrics").text, "both workers in the view"
    )


def test_healthcheck_says_whether_the_router_lives_and_is_ready(
    router: Router, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMBDA_DISPATCH_FunctionName", "app")
    options = ["--admin-port", str(router.ports["admin"])]
    assert cli.main(["healthcheck", *options]) == 0
    assert cli.main(["healthcheck", "--ready", *options]) == 0
    assert capsys.readouterr().out == "OK\nOK\n"


def test_healthcheck_asks_a_url(router: Router, capsys: pytest.CaptureFixture[str]) -> None:
    admin = f"http://127.0.0.1:{router.ports['admin']}"
    assert cli.main(["healthcheck", f"{admin}/livez?x=1"]) == 0
    assert cli.main(["healthcheck", f"{admin}/nothing-here"]) == 1
    for url in ("https://h/", "http://", "http://h:x/", "h:80/"):
        assert cli.main(["healthcheck", url]) == 64
        assert f"{url} is not http://" in capsys.readouterr().err
    assert cli.main(["healthcheck", f"{admin}/livez", "--ready"]) == 64


def test_healthcheck_fails_where_nobody_or_another_server_answers(
    router: Router, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMBDA_DISPATCH_FunctionName", "app")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    assert cli.main(["healthcheck", "--admin-port", str(free)]) == 1
    assert healthcheck.ask("127.0.0.1", router.ports["admin"], "/nothing-here") == 1
    assert "404 no such path" in capsys.readouterr().err
    assert cli.main(["healthcheck", "--admin-port", "-1"]) == 69


def test_the_state_is_the_document_of_status(router: Router) -> None:
    shown = json.loads(ask(router.ports["admin"], "/api/v1/state").text)
    board = status.open_board(router.process.pid)
    try:
        own = view.take(board, 1, 1).document()
    finally:
        board.close()
    assert set(shown) == {*own, "version", "control"} and shown["control"] == "off"
    assert {worker["pid"] for worker in shown["workers"]} == set(router.pids().values())
    assert shown["pools"][0]["function"] == "fake" and shown["pools"][0]["verdict"]["level"] == "ok"
    assert set(shown["pools"][0]) == {*own["pools"][0], "verdict", "schedule"}


def test_a_terminal_gets_text(router: Router) -> None:
    answer = ask(router.ports["admin"], "/", accept="*/*")
    assert "fake: idle: no instance open" in answer.text and f"router {router.process.pid}, up " in answer.text


def test_a_browser_gets_the_page_compressed_and_within_its_budget(router: Router) -> None:
    port = router.ports["admin"]
    page = ask(port, "/", accept="text/html,*/*")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    names = set(re.findall(r'(?:src|href)="([a-z-]+\.(?:js|css))"', page.text))
    scripts = [ask(port, f"/{name}").text for name in names if name.endswith(".js")]
    names |= {name for text in scripts for name in re.findall(r'from "\./([a-z]+\.js)"', text)}
    assert {"app.js", "stream.js", "uplot.js", "style.css"} <= names
    sent = 0
    for name in ("", *sorted(names)):
        answer = ask(port, f"/{name}", accept="text/html", accept_encoding="gzip")
        assert answer.status == 200 and answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body).decode() == ask(port, f"/{name}", accept="text/html").text
        sent += len(answer.body)
    assert sent <= 40_000


def test_the_page_names_no_other_host(router: Router) -> None:
    folder = ROOT / "src/lambda_dispatch/admin/page"
    for file in folder.iterdir():
        if not file.name.startswith("uplot"):
            assert "//" not in re.sub(r"(^|[ ;])// .*", "", file.read_text(), flags=re.M), file.name


def test_history_and_instances_say_what_they_accept(router: Router) -> None:
    port = router.ports["admin"]
    until(lambda: json.loads(ask(port, "/api/v1/history?series=queued").text)["times_ms"], "a second of history")
    assert json.loads(ask(port, "/api/v1/instances?state=open").text) == {"total": 0, "instances": []}
    for path, what in {
        "/api/v1/history?span=1y": "it must be 15m or 24h",
        "/api/v1/history?series=money": "is not known",
        "/api/v1/instances?colour=red": "parameter 'colour' is not known",
    }.items():
        answer = ask(port, path)
        assert answer.status == 400 and what in answer.text


def test_decisions_are_read_from_the_ring(router: Router) -> None:
    port = router.ports["admin"]
    board = router.board(write=True)
    try:
        names = [
            name
            for name in Decision._fields
            if name not in ("number", "at", "pool", "held", "inputs", "who", "why", "command")
        ]
        number = board.record_decision(
            board.created, 0, **{**dict.fromkeys(names, 1), "desired": 4}, held="", inputs=(1.5, math.nan, 3.0)
        )
        wall = board.created_wall // 1_000_000
    finally:
        board.close()
    found = json.loads(ask(port, f"/api/v1/decisions?since={number - 1}&pool=fake").text)
    assert found["next"] == number
    (shown,) = found["decisions"]
    assert (shown["function"], shown["at_ms"], shown["before"], shown["desired"]) == ("fake", wall, 1, 4)
    assert shown["reason"].startswith("scale out: ") and shown["policy"] == "ewma"
    assert shown["inputs"] == {"now": 1.5, "pending": None, "running": 3.0} and shown["memory"] == []
    assert json.loads(ask(port, "/api/v1/decisions?pool=other").text)["decisions"] == []
    assert ask(port, "/api/v1/decisions?limit=-1").status == 400


def test_secrets_are_not_shown(guarded: Router) -> None:
    answer = ask(guarded.ports["admin"], "/api/v1/config", authorization=f"Bearer {TOKEN}")
    shown = json.loads(answer.text)
    assert shown["AdminToken"]["value"] == "***" and TOKEN not in answer.text
    assert shown["Workers"]["value"] == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"host": "evil.test"}, 403),
        ({"host": "127.0.0.1.evil.test:5005"}, 403),
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ({"host": "[::1"}, 403),
        ({"host": "localhost"}, 200),
        ({"host": "127.0.0.1:9", "origin": "http://127.0.0.1:9"}, 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
    ],
)
def test_foreign_pages_are_refused(router: Router, fields: dict[str, str], code: int) -> None:
    assert ask(router.ports["admin"], "/api/v1/state", **fields).status == code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_it_only_reads(router: Router, method: str) -> None:
    answer = ask(router.ports["admin"], "/api/v1/state", method, b"{}")
    assert answer.status in (400, 405)
    if answer.status == 405:
        assert answer.headers["allow"] == "GET, HEAD"


def test_every_answer_forbids_framing_sniffing_and_caching(router: Router) -> None:
    for path in ("/", "/api/v1/state", "/no-such-path"):
        headers = ask(router.ports["admin"], path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"bearer {TOKEN}", 200),
        ("Basic !!", 401),
        ("Basic dG9rZW46YS10b2tlbi1vZi1zb21lLWxlbmd0aA==", 200),
    ],
)
def test_a_token_that_is_set_is_needed(guarded: Router, authorization: str, code: int) -> None:
    for path in ("/", "/metrics", "/api/v1/state", "/api/v1/stream", "/api/v1/config"):
        method = "HEAD" if path.endswith("stream") else "GET"
        answer = ask(guarded.ports["admin"], path, method, authorization=authorization)
        assert answer.status == code
        assert ("www-authenticate" in answer.headers) == (code == 401)
    assert ask(guarded.ports["admin"], "/livez").status == 200


class Events:
    def __init__(self, port: int, **fields: str) -> None:
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self.client.request("GET", "/api/v1/stream", headers={k.replace("_", "-"): v for k, v in fields.items()})
        self.answer = self.client.getresponse()
        assert self.answer.status == 200, self.answer.read()

    def next(self) -> tuple[str, int, dict[str, object]]:
        lines = [self.answer.readline().decode() for _ in range(4)]
        assert lines[3] == "\n"
        kind, number, data = (line.split(": ", 1)[1].strip() for line in lines[:3])
        return kind, int(number), json.loads(data)

    def close(self) -> None:
        self.client.close()


def test_the_stream_begins_with_a_snapshot_and_resumes_after_a_break(router: Router) -> None:
    port = router.ports["admin"]
    events = Events(port)
    kind, first, state = events.next()
    assert kind == "snapshot" and set(state["workers"]) == {"0", "1"}  # type: ignore[call-overload]
    kind, second, changes = events.next()
    assert (kind, second) == ("delta", first + 1) and "taken_ms" in changes
    events.close()
    resumed = Events(port, last_event_id=str(first))
    assert resumed.next()[:2] == ("delta", second)
    resumed.close()
    unknown = Events(port, last_event_id="17")
    assert unknown.next()[0] == "snapshot"
    unknown.close()


def test_streams_and_clients_are_limited() -> None:
    with Router(workers=1, admin_port=0) as router, contextlib.ExitStack() as stack:
        port = router.ports["admin"]
        for _ in range(MAX_STREAMS):
            stack.callback(Events(port).close)
        assert ask(port, "/api/v1/stream").status == 503
        until(lambda: ask(port, "/livez").status == 200, "the refused stream is gone")
        idle = [socket.create_connection(("127.0.0.1", port), DEADLINE) for _ in range(MAX_CLIENTS - MAX_STREAMS)]
        for one in idle:
            stack.callback(one.close)
        surplus = socket.create_connection(("127.0.0.1", port), DEADLINE)
        stack.callback(surplus.close)
        with contextlib.suppress(ConnectionError):
            surplus.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
            assert surplus.recv(1) == b""
        idle[0].close()
        until(lambda: _served(port), "room for another client")


def _served(port: int) -> bool:
    try:
        return ask(port, "/livez").status == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def test_a_killed_admin_process_is_replaced_and_nobody_else_is() -> None:
    with Router(workers=1, admin_port=0) as router:
        port, workers, scaler = router.ports["admin"], router.pids(), router.scaler()
        before = until(lambda: admin_pid(router), "the admin process")
        os.kill(before, signal.SIGKILL)
        until(lambda: admin_pid(router) not in (0, before), "its successor")
        assert ask(port, "/livez").status == 200
        assert (router.pids(), router.scaler()) == (workers, scaler)
        router.signal(signal.SIGTERM)
        assert router.wait() == 0, router.log()
        assert not Path(f"/proc/{before}").exists() and "process died" in router.log()


def test_the_board_cannot_be_written_by_the_admin_process(router: Router) -> None:
    pid = until(lambda: admin_pid(router), "the admin process")
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    modes = {line.split()[1] for line in maps if "lambda-dispatch-board" in line}
    assert modes == {"r--s"}


def test_a_default_port_that_is_taken_costs_the_page_alone() -> None:
    with Router(workers=1, admin_port=0) as first, Router(workers=1, admin_port=first.ports["admin"]) as second:
        assert "admin" not in second.ports
        assert "admin port not opened" in second.log()
    with Router(workers=1, admin_port=0) as first:
        taken = first.ports["admin"]
        with Router(workers=1, ready=False, admin_port=taken, sources={"admin_port": "--admin-port"}) as refused:
            assert refused.wait() == 69
            assert f"AdminPort {taken}" in refused.log()


def test_lives_are_read_from_the_ring_and_from_the_living(router: Router) -> None:
    board = router.board(write=True)
    try:
        now = time.monotonic_ns()
        gone = board.allocate_instance(0, bytes.fromhex("aabbccdd") + bytes(12), 10, now, now + 10**12)
        assert gone is not None
        board.open_instance(*gone, now + 10**9)
        assert board.close_instance(*gone, now + 5 * 10**9)
        number = board.record_life(gone[0], now + 5 * 10**9, EXIT_NAMES.index("SelfDeadline") + 1, True)
        board.free_instance(*gone)
        alive = board.allocate_instance(0, bytes.fromhex("11223344") + bytes(12), 10, now, now + 10**12)
        assert alive is not None
    finally:
        board.close()
    port = router.ports["admin"]
    shown = json.loads(ask(port, "/api/v1/lives").body)
    assert shown["next"] == number
    living, ended = shown["lives"]
    assert (living["id"], living["ended_ms"], living["opened_ms"], living["reason"]) == ("11223344", None, None, None)
    assert (ended["id"], ended["reason"], ended["let_go"]) == ("aabbccdd", "SelfDeadline", True)
    assert (ended["opened_ms"] - ended["asked_ms"], ended["ended_ms"] - ended["asked_ms"]) == (1000, 5000)
    only = json.loads(ask(port, "/api/v1/lives?state=ended").body)["lives"]
    assert [it["id"] for it in only] == ["aabbccdd"]
    assert json.loads(ask(port, f"/api/v1/lives?state=ended&since={number}").body) == {"next": number, "lives": []}
    assert json.loads(ask(port, "/api/v1/lives?pool=other").body)["lives"] == []
    refused = ask(port, "/api/v1/lives?state=dead")
    assert (refused.status, refused.text) == (400, "state is 'dead'; it must be all or ended\n")
