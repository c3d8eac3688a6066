"""How an invoke is answered and why it ends: exit reasons, the clock; against a simulated router and Lambda."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.extension_rig import Rig, play, reason
from tests.support.router_peer import Policy


@contextmanager
def late_answers(r: Rig) -> Iterator[list[tuple[int, int, bytes]]]:
    """Answers to ping and close leave at the end of the block."""
    late: list[tuple[int, int, bytes]] = []
    link = r.router.links[0]
    answer = link._answer
    link._answer = lambda *what: late.append(what)  # type: ignore[method-assign, assignment]
    yield late
    link._answer = answer  # type: ignore[method-assign]
    for what in late:
        link._answer(*what)
    link.flush()


# The invoke's payload -------------------------------------------------------------------------------------------------


def test_the_response_echoes_the_ids_and_counts_the_requests() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(2)
        for _ in range(5):
            await r.exchange("GET", "/text/4")
        await r.router.all_parked(2)
        for channel in list(r.router.links[0].channels.values())[-2:]:
            await channel.go_away()
        result = await invocation.result()
        assert {name: result[name] for name in ("PoolId", "Id", "RequestCount", "ExitReason")} == {
            "PoolId": "pool-1",
            "Id": r.ids[0],
            "RequestCount": 5,
            "ExitReason": "RouterGoAway",
        }
        assert isinstance(result["InvokeDuration"], int) and result["InvokeDuration"] >= 0

    play(body)


def test_a_missing_pool_is_the_default_one_everywhere() -> None:
    async def body(r: Rig) -> None:
        channel = await r.parked(PoolId=None)
        assert channel.headers["x-pool-id"] == "default"
        await channel.go_away()
        assert (await list(r.api.invocations.values())[0].result())["PoolId"] == "default"

    play(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"DispatcherUrl": "not a url"},
        {"DispatcherUrl": "http://127.0.0.1:99999/"},
        {"SentTime": "last Tuesday"},
        {"SentTime": None},
        {"NumberOfChannels": 1000},
        {"Secret": "two words"},
        {"CertificateSha256": "12"},
    ],
)
def test_a_payload_that_cannot_be_served_is_answered_with_its_ids(changes: dict[str, Any]) -> None:
    async def body(r: Rig) -> None:
        payload = {**r.payload(), **changes}
        result = await r.api.invoke(payload).result()
        assert (result["Id"], result["PoolId"]) == (payload["Id"], "pool-1")
        assert result["ExitReason"] == "RouterLambdaInvokeInvalid"
        assert r.router.posts == 0

    play(body)


def test_a_payload_that_is_no_json_is_answered_and_the_next_invoke_is_served() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.api.invoke(b"\xff{")) == "RouterLambdaInvokeInvalid"
        channel = await r.parked()
        assert (await channel.exchange("GET", "/text/4")).status == 200

    play(body)


# Ends -----------------------------------------------------------------------------------------------------------------


def test_go_away_ends_all_channels_and_finishes_what_is_in_flight() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(3)
        first, second, third = await r.router.all_parked(3)
        await first.request("GET", "/gated")
        await first.head()
        await second.go_away()
        await third.go_away()
        assert not invocation.done.is_set()
        await r.open_gate()
        await first.wait(lambda: first.ended)
        assert bytes(first.data) == b"data: first\n\ndata: second\n\n"
        result = await invocation.result()
        assert (result["ExitReason"], result["RequestCount"]) == ("RouterGoAway", 1)
        assert not r.router.closes

    play(body)


def test_without_traffic_it_asks_to_close_and_returns_within_a_second() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        began = time.monotonic()
        result = await r.invoke(2).result()
        assert time.monotonic() - began < 1.0
        assert result["ExitReason"] == "SelfLastActive"
        assert [(close["x-lambda-id"], close["x-pool-id"]) for close in r.router.closes] == [(r.ids[0], "pool-1")]

    play(body, grace=250)


def test_an_instance_that_is_to_stay_when_idle_stays_until_it_is_told_to_go() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        staying = r.invoke(2, IdleGraceMs=900_000)
        # It pings after 5 s; with a grace of 20 ms it would have asked to be closed long before.
        await r.router.until(lambda: bool(r.router.pings))
        assert not r.router.closes and not staying.done.is_set()
        await r.router.go_away()
        assert await reason(staying) == "RouterGoAway"
        # It is a matter of the invoke, not of the environment.
        assert await reason(r.invoke(2)) == "SelfLastActive"

    play(body, grace=20)


def test_an_instance_that_is_to_stay_when_idle_ends_at_its_deadline() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        assert await reason(r.invoke(2, 16.0, IdleGraceMs=900_000)) == "SelfDeadline"
        assert len(r.router.closes) == 1

    play(body, grace=20)


def test_a_request_in_flight_keeps_the_instance_from_idling() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(1)
        channel = await r.router.parked()
        await channel.request("GET", "/gated")
        await asyncio.sleep(0.6)
        assert not r.router.closes and not invocation.done.is_set()
        channel.reset()
        assert await reason(invocation) == "SelfLastActive"

    play(body, grace=100)


def test_an_idle_close_is_void_when_the_router_has_sent_a_request_meanwhile() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(2)
        channels = await r.router.all_parked(2)
        await r.router.until(lambda: len(r.router.closes) == 2)  # it is in use, and has idled for another grace period
        assert (await channels[0].exchange("GET", "/text/4")).status == 200
        assert not invocation.done.is_set()
        r.router.policy.close, r.router.policy.go_away_on_close = 200, True
        assert await reason(invocation) == "SelfLastActive"
        assert {close["x-lambda-dispatch-if-idle"] for close in r.router.closes} == {"1"}

    play(body, grace=100, policy=Policy(go_away_on_close=False, close=412))


def test_who_has_another_reason_by_then_asks_to_close_for_that() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(2)
        channels = await r.router.all_parked(2)
        assert r.app is not None
        await r.app.end()
        with late_answers(r) as late:
            await r.router.until(lambda: bool(late))
            await channels[0].request("POST", "/echo", [("content-length", "0")])
            await channels[0].until_reset()
        await r.router.until(lambda: len(r.router.closes) == 2)
        assert "x-lambda-dispatch-if-idle" not in r.router.closes[1]
        await invocation.ended()
        assert invocation.error["errorType"] == "AppConnectionError"
        assert await r.extension.exited() == 1

    play(body, grace=100, policy=Policy(close=412))


def test_a_go_away_of_another_worker_ends_what_was_asked_to_stay() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(2)
        busy, parked = await r.router.all_parked(2)
        with late_answers(r) as late:
            await r.router.until(lambda: bool(late))
            await busy.request("GET", "/gated")
            await busy.head()
            await parked.go_away()
            await parked.wait(lambda: parked.ended)
        await r.open_gate()
        await busy.wait(lambda: busy.ended)
        assert await reason(invocation) == "RouterGoAway"
        assert ["x-lambda-dispatch-if-idle" in close for close in r.router.closes] == [True, False]

    play(body, grace=100, policy=Policy(close=412, go_away_on_close=False))


def test_a_router_that_says_nothing_after_close_does_not_hold_the_invoke() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(2)) == "SelfLastActive"
        assert len(r.router.closes) == 1

    play(body, grace=100, policy=Policy(go_away_on_close=False, answer_close=False))


def test_a_deadline_inside_the_margin_is_one_close_and_no_ping() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(2, timeout=10)) == "SelfDeadline"
        assert (len(r.router.closes), len(r.router.pings)) == (1, 0)

    play(body)


def test_the_margin_may_be_a_share_of_the_functions_timeout() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(1, timeout=10)
        channel = await r.router.parked()
        assert (await channel.exchange("GET", "/text/4")).status == 200
        await asyncio.sleep(0.4)
        assert not r.router.closes
        channel = await r.router.parked()
        await channel.go_away()
        assert await reason(invocation) == "RouterGoAway"

    play(body, env={"LAMBDA_DISPATCH_DEADLINE_MARGIN": "10%"})


def test_a_forced_deadline_overrides_the_functions() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(1, timeout=800)) == "SelfDeadline"

    play(body, env={"LAMBDA_DISPATCH_FORCE_DEADLINE": "5"})


def test_a_stale_invoke_returns_at_once_where_the_deadline_is_forced() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(1, SentTime="2024-01-01T00:00:00Z")) == "SelfStaleRequest"
        assert not r.router.links

    play(body, env={"LAMBDA_DISPATCH_FORCE_DEADLINE": "60"})


def test_requests_in_flight_are_cut_before_the_deadline_and_the_invoke_is_answered() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(1, timeout=2.0)
        channel = await r.router.parked()
        await channel.request("GET", "/gated")
        await channel.head()
        assert await channel.until_reset() == 8
        assert await reason(invocation) == "SelfDeadline"
        assert time.time() < invocation.deadline

    play(body)


# The router misbehaves ------------------------------------------------------------------------------------------------


def test_a_router_that_refuses_connections_is_unreachable_within_two_seconds() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        began = time.monotonic()
        assert await reason(r.invoke(2, DispatcherUrl="http://127.0.0.1:1/api/chunked")) == "RouterUnreachable"
        assert 0.5 <= time.monotonic() - began < 2.0
        line = await r.extension.line("router unreachable")
        assert "router=http://127.0.0.1:1 " in line and "Connection refused" in line and "the first of " in line

    play(body)


def test_a_router_may_be_given_by_name() -> None:
    async def body(r: Rig) -> None:
        channel = await r.parked(DispatcherUrl=f"http://localhost:{r.router.port}/api/chunked")
        assert (await channel.exchange("GET", "/text/4")).status == 200

    play(body)


def test_a_router_whose_name_is_unknown_is_unreachable_and_named() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(1, DispatcherUrl="http://router.invalid/api/chunked")) == "RouterUnreachable"
        line = await r.extension.line("router unreachable")
        assert "router.invalid" in line and ("cannot be resolved" in line or "timed out" in line)

    play(body)


def test_a_router_that_is_a_black_hole_is_unreachable_within_two_seconds() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        hole = socket.socket()
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        port = hole.getsockname()[1]
        fillers = []
        for _ in range(4):  # the backlog is full: further connects hang
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        try:
            began = time.monotonic()
            invocation = r.invoke(2, DispatcherUrl=f"http://127.0.0.1:{port}/api/chunked")
            assert await reason(invocation) == "RouterUnreachable"
            assert 0.5 <= time.monotonic() - began < 2.0
        finally:
            for sock in [hole, *fillers]:
                sock.close()

    play(body)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, "RouterStatus4xx"), (404, "RouterStatus4xx"), (503, "RouterStatus5xx"), (302, "RouterStatusOther")],
)
def test_a_status_on_a_channel_ends_the_invoke_with_its_reason(status: int, expected: str) -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(3)) == expected

    play(body, policy=Policy(accept=lambda channel: status))


def test_a_conflict_on_a_channel_is_go_away_without_a_close_call() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(3)) == "RouterGoAway"
        assert not r.router.closes

    play(body, policy=Policy(accept=lambda channel: 409))


@pytest.mark.parametrize("how", ["reset", "end", "connection", "garbage"])
def test_a_channel_broken_by_the_router_ends_the_whole_invoke_within_two_seconds(how: str) -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(20)
        channels = await r.router.all_parked(20)
        await channels[1].request("GET", "/gated")
        await channels[1].head()
        began = time.monotonic()
        link = channels[0].link
        if how == "reset":
            channels[0].reset()
        elif how == "end":
            await channels[0].send(b"", end=True)
        elif how == "connection":
            assert link.transport is not None
            link.transport.abort()
        else:
            assert link.transport is not None
            link.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert await reason(invocation) == "RouterConnectionError"
        assert time.monotonic() - began < 2.0
        channel = await r.parked()
        assert (await channel.exchange("GET", "/text/4")).status == 200, "the environment serves the next invoke"

    play(body)


def test_of_several_connections_a_lost_one_is_replaced_and_its_channels_park_again() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(4, NumberOfConnections=2)
        channels = await r.router.all_parked(4)
        lost = r.router.links[0]
        gone = {channel.id for channel in channels if channel.link is lost}
        survivor = next(channel for channel in channels if channel.link is not lost)
        await survivor.request("GET", "/gated")
        await survivor.head()
        assert lost.transport is not None
        lost.transport.abort()
        again = await r.router.all_parked(2)
        assert {channel.id for channel in again} == gone
        assert again[0].link is r.router.links[2]
        assert (await again[0].exchange("GET", "/text/4")).body == b"all "
        await r.open_gate()
        await survivor.wait(lambda: survivor.ended)
        assert not invocation.done.is_set() and not r.router.closes

    play(body)


def test_of_several_connections_one_that_cannot_be_replaced_lets_the_others_finish() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(4, NumberOfConnections=2)
        channels = await r.router.all_parked(4)
        lost = r.router.links[0]
        survivor = next(channel for channel in channels if channel.link is not lost)
        await survivor.request("GET", "/gated")
        await survivor.head()
        assert lost.transport is not None and r.router.server is not None
        r.router.server.close()
        lost.transport.abort()
        await r.router.until(lambda: len(r.router.closes) == 1)
        await asyncio.sleep(1.5)
        await r.open_gate()
        await survivor.wait(lambda: survivor.ended)
        assert await reason(invocation) == "RouterConnectionError"

    play(body)


def test_a_router_that_takes_no_channel_is_a_connection_error() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(2)) == "RouterConnectionError"

    play(body, policy=Policy(answer_channels=False))


def test_goaway_of_the_connection_is_go_away() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(2)
        channels = await r.router.all_parked(2)
        channels[0].link.send_goaway(channels[1].stream)
        assert await reason(invocation) == "RouterGoAway"

    play(body)


def test_it_pings_every_five_seconds_and_a_conflict_is_go_away() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(1)
        await r.router.parked()
        accepted = time.monotonic()
        r.router.policy.ping = 409
        await r.router.until(lambda: len(r.router.pings) == 1)
        assert 4.9 < time.monotonic() - accepted < 6.0
        assert r.router.pings[0]["x-lambda-id"] == r.ids[0]
        assert await reason(invocation) == "RouterGoAway"
        assert not r.router.closes

    play(body)


def test_another_status_on_a_ping_is_its_reason() -> None:
    async def body(r: Rig) -> None:
        assert await reason(r.invoke(1)) == "RouterStatus5xx"
        assert len(r.router.pings) == 1

    play(body, policy=Policy(ping=500))


# The application dies -------------------------------------------------------------------------------------------------


def test_an_application_that_crashed_between_requests_fails_the_invoke_within_three_seconds() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(3)
        assert (await r.exchange("GET", "/text/4")).status == 200
        assert r.app is not None
        await r.app.end()
        began = time.monotonic()
        channel = await r.router.parked()
        await channel.request("POST", "/echo", [("content-length", "0")])
        assert await channel.until_reset() == 7, "REFUSED_STREAM: the application has not seen the request"
        await invocation.ended()
        assert time.monotonic() - began < 3.0
        assert invocation.error["errorType"] == "AppConnectionError"
        assert len(r.router.closes) == 1
        assert await r.extension.exited() == 1

    play(body)


def test_overlapping_invokes_are_kept_apart() -> None:
    async def body(r: Rig) -> None:
        first = r.invoke(1)
        one = await r.router.parked()
        second = r.invoke(1)
        two = await r.router.parked()
        assert {one.headers["x-lambda-id"], two.headers["x-lambda-id"]} == set(r.ids)
        await one.go_away()
        assert (await first.result())["Id"] == r.ids[0]
        assert (await two.exchange("GET", "/text/4")).status == 200
        await (await r.router.parked()).go_away()
        result = await second.result()
        assert (result["Id"], result["RequestCount"]) == (r.ids[1], 1)

    play(body, env={"AWS_LAMBDA_MAX_CONCURRENCY": "2"})
