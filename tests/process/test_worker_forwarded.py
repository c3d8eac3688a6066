"""Whose word counts about where a request came from, and names that only look like protected ones."""

import pytest

from tests.support.clients import ask
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])
CLAIMS = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-for", "7.7.7.7, 8.8.8.8"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-host", "evil.test"),
    ("forwarded", "for=6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
]
MIMICS = [
    "Transfer_Encoding",
    "Content_Length",
    "content_length",
    "Host_",
    "X_Forwarded_For",
    "X-Forwarded_Proto",
    "X_Real_IP",
    "X_Lambda_Id",
    "x-lambda_id",
    "X_Channel_Id",
    "X_Pool_Id",
    "X_Lambda_Name",
    "X_Lambda_Dispatch_Secret",
    "Proxy_Authorization",
    "Keep_Alive",
]


async def seen(worker: WorkerProcess, speaks: str, fields: list[tuple[str, str]]) -> Call:
    peer = await worker.instance()
    assert (await soon(ask(speaks, worker.ports["http"], "/", fields), "the answer")).status == 200
    return peer.calls[0]


@both
@scenario
async def test_by_default_a_load_balancers_fields_pass_as_they_come(worker: WorkerProcess, speaks: str) -> None:
    call = await seen(worker, speaks, CLAIMS)
    assert call.all("x-forwarded-for") == ["6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1"]
    for name, value in CLAIMS[2:]:
        assert call.all(name) == [value]


@both
@scenario
async def test_without_trusted_hops_a_client_says_nothing_about_itself(speaks: str) -> None:
    async with WorkerProcess.running("--trusted-hops", "0") as worker:
        call = await seen(worker, speaks, CLAIMS)
        assert call.all("x-forwarded-for") == ["127.0.0.1"]
        assert (call.all("x-forwarded-proto"), call.all("x-forwarded-port")) == (["http"], [str(worker.ports["http"])])
        assert not any(call.all(name) for name in ("x-forwarded-host", "forwarded", "x-real-ip"))


@both
@pytest.mark.parametrize(
    ("hops", "kept"),
    [
        ("1", "8.8.8.8, 127.0.0.1"),
        ("2", "7.7.7.7, 8.8.8.8, 127.0.0.1"),
        ("3", "6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1"),
        ("4", "6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1"),
    ],
)
@scenario
async def test_as_many_entries_pass_as_there_are_trusted_hops(speaks: str, hops: str, kept: str) -> None:
    async with WorkerProcess.running("--trusted-hops", hops) as worker:
        call = await seen(worker, speaks, CLAIMS)
        assert call.all("x-forwarded-for") == [kept]
        assert call.all("x-forwarded-proto") == ["https"]


@pytest.mark.parametrize("name", [name for name, _ in CLAIMS])
@scenario
async def test_connection_names_no_forwarding_field_away(worker: WorkerProcess, name: str) -> None:
    call = await seen(worker, "h1", [*CLAIMS, ("connection", name), ("connection", name.title())])
    plain = await seen(worker, "h1", CLAIMS)
    assert call.all(name) == plain.all(name) != []


@scenario
async def test_connection_does_not_keep_ours_away_where_the_client_gave_none(worker: WorkerProcess) -> None:
    named = "x-forwarded-proto, x-forwarded-port, x-forwarded-for"
    call = await seen(worker, "h1", [("connection", named)])
    assert call.all("x-forwarded-proto") == ["http"]
    assert call.all("x-forwarded-port") == [str(worker.ports["http"])]
    assert call.all("x-forwarded-for") == ["127.0.0.1"]


@both
@scenario
async def test_names_that_only_an_underscore_tells_from_protected_ones_are_dropped(
    worker: WorkerProcess, speaks: str
) -> None:
    fields = [(name if speaks == "h1" else name.lower(), "x") for name in MIMICS]
    call = await seen(worker, speaks, [*fields, ("my_own_field", "passes"), ("x_forwarded_for_2", "passes")])
    names = {name for name, _ in call.fields}
    assert names & {name.lower() for name in MIMICS} == {"host_"}  # "host-" is nobody's name
    assert (call.field("my_own_field"), call.field("x_forwarded_for_2")) == ("passes", "passes")


@both
@scenario
async def test_such_names_pass_where_that_is_asked_for(speaks: str) -> None:
    async with WorkerProcess.running("--allow-underscore-fields") as worker:
        fields = [(name.lower(), "x") for name in MIMICS]
        names = {name for name, _ in (await seen(worker, speaks, fields)).fields}
        assert {name.lower() for name in MIMICS} <= names


@scenario
async def test_fields_reach_the_instance_in_one_form_however_they_are_written(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        await client.get(
            "/",
            "X-First: 1\r\nX-Close:2\r\nX-Far:  \t 3\r\nX-Tab:\t4\r\nX-Trailing: 5 \t\r\nX-Empty: \r\nX-Nothing:\r\n"
            "X-Sixth: 6\r\nConnection: X-Hop\r\nX-Seventh: 7\r\nX-Hop: no\r\nX-Eighth: a: b\r\n"
            "X-Forwarded-For: 9.9.9.9\r\nX-Last: 9\r\n",
        )
    _, fields = peer.calls[0].head.split(b"\r\n", 1)
    assert [line for line in fields.split(b"\r\n") if not line.startswith((b"Host", b"X-Forwarded"))] == [
        b"X-First: 1",
        b"X-Close: 2",
        b"X-Far: 3",
        b"X-Tab: 4",
        b"X-Trailing: 5",
        b"X-Empty: ",
        b"X-Nothing: ",
        b"X-Sixth: 6",
        b"X-Seventh: 7",
        b"X-Eighth: a: b",
        b"X-Last: 9",
    ]
