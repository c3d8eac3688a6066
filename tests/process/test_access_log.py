"""The access log: which fields a line has, where their values come from, and that a line stays a line."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from lambda_dispatch.telemetry.access import AccessLog
from lambda_dispatch.telemetry.access_fields import ALL_FIELDS, DEFAULT_FIELDS
from tests.support.clients import ask
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Seen:
    """Keeps what the application was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        await call.respond(200, body=b"hello")


async def lines(worker: WorkerProcess, count: int = 1) -> list[str]:
    await until(lambda: worker.text().count("\n") >= count, f"{count} lines")
    return worker.text().splitlines()


@both
@scenario
async def test_a_line_in_json_has_every_field_that_was_chosen(speaks: str) -> None:
    chosen = ",".join(ALL_FIELDS)
    async with WorkerProcess.running("--access-log", "json", "--access-log-fields", chosen) as worker:
        seen = Seen()
        peer = await worker.instance(seen)
        fields = [
            ("x-request-id", "abc-1"),
            ("traceparent", TRACEPARENT),
            ("referer", 'a "b'),
            ("user-agent", "test/1"),
        ]
        answer = await soon(ask(speaks, worker.ports["http"], "/x?y=1", fields), "the answer")
        assert answer.status == 200
        found: dict[str, Any] = json.loads((await lines(worker))[0])
        assert found["method"] == "GET" and found["target"] == "/x?y=1"
        assert found["version"] == ("1.1" if speaks == "h1" else "2")
        assert (found["status"], found["bytes_in"], found["bytes_out"]) == (200, 0, 5)
        assert (found["request_id"], found["trace_id"]) == ("abc-1", "4bf92f3577b34da6a3ce929d0e0e4736")
        assert found["instance"] == peer.id.replace("-", "")[:8]
        assert (found["referer"], found["user_agent"], found["function"]) == ('a "b', "test/1", "default")
        assert found["wait_ms"] >= 0 and found["total_ms"] >= found["service_ms"] >= 0
        assert found["client"] == "127.0.0.1" and "fault" not in found and found["host"]
        assert seen.calls[0].all("x-request-id") == ["abc-1"]


@both
@scenario
async def test_a_request_without_an_id_gets_one_that_the_application_sees(speaks: str) -> None:
    async with WorkerProcess.running("--access-log", "text") as worker:
        seen = Seen()
        await worker.instance(seen)
        for _ in range(2):
            assert (await soon(ask(speaks, worker.ports["http"], "/"), "the answer")).status == 200
        logged = [re.search(r" request_id=([0-9a-f]{32}) ", line) for line in await lines(worker, 2)]
        assert [found[1] for found in logged if found] == [call.field("x-request-id") for call in seen.calls]
        assert len({call.field("x-request-id") for call in seen.calls}) == 2


@scenario
async def test_without_the_access_log_no_id_is_made_and_one_that_came_passes() -> None:
    async with WorkerProcess.running() as worker:
        seen = Seen()
        await worker.instance(seen)
        await soon(ask("h1", worker.ports["http"], "/"), "the answer")
        await soon(ask("h1", worker.ports["http"], "/", [("x-request-id", "mine")]), "the answer")
        assert [call.all("x-request-id") for call in seen.calls] == [[], ["mine"]]


@scenario
async def test_a_line_of_the_combined_format() -> None:
    async with WorkerProcess.running("--access-log", "combined") as worker:
        seen = Seen()
        await worker.instance(seen)
        fields = [("referer", "http://a/"), ("user-agent", 'x"\\')]
        await soon(ask("h1", worker.ports["http"], "/a", fields), "the answer")
        assert re.fullmatch(
            r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
            r'"GET /a HTTP/1\.1" 200 5 "http://a/" "x\\"\\\\"',
            (await lines(worker))[0],
        )
        assert seen.calls[0].field("x-request-id") is None


def written(form: str, fields: tuple[str, ...] | None, head: bytes, path: Path, **more: Any) -> str:
    fd = os.open(path / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    log = AccessLog(fd, form, fields)
    log.record(1, b"10.0.0.1", head, 1, 502, 3, 12, 1_000_000, 9_000_000, more.pop("fault", None), **more)
    log.flush()
    os.close(fd)
    return (path / "log").read_text()


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"traceparent: " + TRACEPARENT.encode(), "4bf92f3577b34da6a3ce929d0e0e4736"),
        (b"b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1", "80f198ee56343ba864fe8b2a57d3eff7"),
        (
            b"X-Amzn-Trace-Id: Self=1-2;Root=1-67891233-abcdef012345678912345678;Sampled=1",
            "1-67891233-abcdef012345678912345678",
        ),
        (b"x-amzn-trace-id: Root=" + b"a" * 5000, "a" * 1024),
        (b"x-amzn-trace-id: Parent=1", None),
        (b"traceparent: 00-short", None),
    ],
)
def test_where_the_trace_id_comes_from(field: bytes, shown: str | None, tmp_path: Path) -> None:
    line = written("json", None, b"GET / HTTP/1.1\r\nhost: a\r\n" + field + b"\r\n\r\nbody", tmp_path)
    assert json.loads(line).get("trace_id") == shown


def test_traceparent_wins_wherever_it_stands(tmp_path: Path) -> None:
    b3 = b"b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1\r\n"
    trace = b"traceparent: " + TRACEPARENT.encode() + b"\r\n"
    for fields in (b3 + trace, trace + b3):
        assert TRACEPARENT[3:35] in written("text", None, b"GET / HTTP/1.1\r\n" + fields + b"\r\n", tmp_path)


@pytest.mark.parametrize("form", ["text", "json", "combined"])
def test_no_value_of_a_client_breaks_a_line(form: str, tmp_path: Path) -> None:
    nasty = b'a "}\\\x00\x1f\xff fault=none'
    head = b"GET /" + nasty.replace(b" ", b"%20") + b" HTTP/1.1\r\n"
    head += b"".join(name + b": " + nasty + b"\r\n" for name in (b"x-request-id", b"host", b"referer", b"user-agent"))
    line = written(form, ALL_FIELDS, head + b"\r\n", tmp_path, fault="channel_reset", function=b"f")
    assert line.count("\n") == 1 and line.isascii() and line.rstrip("\n").isprintable()
    if form == "json":
        found = json.loads(line)
        assert found["user_agent"] == nasty.decode("latin-1") and found["fault"] == "channel_reset"
    elif form == "text":
        assert re.findall(r" fault=(\S+)", re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)) == ["channel_reset"]


def test_the_fields_chosen_are_those_written_in_that_order(tmp_path: Path) -> None:
    head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    assert written("json", ("request_id", "status", "host"), head, tmp_path) == '{"status":502,"host":"a"}\n'
    assert written("json", ("request_id",), head, tmp_path) == "{}\n"
    assert written("text", ("host", "status", "service_ms"), head, tmp_path, service=5_250_000) == (
        "host=a 502 service_ms=5.250\n"
    )
    refused = written("text", DEFAULT_FIELDS[1:], b"", tmp_path, fault="bad_head")
    assert refused == '10.0.0.1 " HTTP/1.1" 502 in=3 out=12 wait_ms=1.000 total_ms=9.000 fault=bad_head\n'
