"""Upgrade through the extension: an application that goes on in another protocol, or does not."""

import json

import pytest

from tests.support.apps.raw_app import SPOKEN, pattern
from tests.support.extension_rig import Rig, rig
from tests.support.loop import scenario
from tests.support.router_peer import PeerChannel

SECRET = {"Secret": "c2VjcmV0c2VjcmV0c2U"}
HEADERS = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Host", "h"), ("Sec-WebSocket-Version", "13")]


async def opened(r: Rig, path: str) -> PeerChannel:
    channel = await r.parked(**SECRET)
    await channel.request("GET", path, HEADERS, end=False)
    return channel


async def next_serves(r: Rig) -> None:
    """The slot is free again."""
    answer = await r.exchange("GET", "/text/5")
    assert answer.status == 200


async def heard(r: Rig, count: str = "/upgrade/heard") -> int:
    while True:
        answer = await r.exchange("GET", "/counts")
        counts = json.loads(answer.body)
        if count in counts:
            return int(counts[count])


@scenario
async def test_it_says_that_it_can_to_a_router_that_is_ours_and_to_no_other() -> None:
    async with rig() as r:
        channel = await r.parked()
        assert "x-lambda-dispatch-features" not in channel.headers
        await channel.request("GET", "/upgrade/echo", HEADERS)
        answer = await channel.answer()
        assert answer.status == 426, "the original would not know what 101 means"
        assert "upgrade" not in bytes.fromhex(answer.body.decode()).decode().lower().partition("\r\n")[2]
        await (await r.router.parked()).go_away()
        channel = await r.parked(**SECRET)
        assert channel.headers["x-lambda-dispatch-features"] == "upgrade"


@scenario
async def test_after_101_bytes_go_both_ways_and_the_clients_end_is_passed_on() -> None:
    async with rig() as r:
        channel = await opened(r, "/upgrade/echo")
        answer = await channel.head()
        assert (answer.status, answer.reason) == (101, "Switching Protocols")
        assert (answer.get("connection"), answer.get("upgrade"), answer.get("x-test")) == ("Upgrade", "websocket", "1")
        for piece in (b"hello", bytes(100_000), b"0\r\n\r\n"):
            await channel.send(piece)
            assert await channel.read(len(piece)) == piece
        await channel.send(b"last", end=True)
        assert await channel.read(100) == b"lastbye"
        assert channel.ended
        await next_serves(r)
        assert await heard(r) == 5 + 100_000 + 5 + 4


@scenario
async def test_what_comes_with_the_101_is_the_protocols() -> None:
    async with rig() as r:
        channel = await opened(r, "/upgrade/HTTP")
        assert (await channel.head()).status == 101
        assert await channel.read(4) == b"HTTP"
        await channel.send(b"", end=True)
        assert await channel.read(4) == b"bye"
        await next_serves(r)


@scenario
async def test_the_application_may_end_first_and_go_on_reading() -> None:
    async with rig() as r:
        channel = await opened(r, "/upgrade/ends")
        assert (await channel.head()).status == 101
        assert await channel.read(100) == b"ends"
        assert channel.ended
        await channel.send(b"still heard")
        await channel.send(b", and the end", end=True)
        await next_serves(r)
        assert await heard(r) == 24


@scenario
async def test_a_refusal_is_an_answer_like_any_other() -> None:
    async with rig() as r:
        channel = await opened(r, "/upgrade/refused")
        answer = await channel.answer()
        head = bytes.fromhex(answer.body.decode()).decode()
        assert answer.status == 426
        assert head.split("\r\n")[-2:] == ["Connection: Upgrade", "Upgrade: websocket"]
        assert "transfer-encoding" not in head.lower()
        await channel.send(b"", end=True)
        await next_serves(r)


@scenario
async def test_an_application_that_breaks_off_resets_the_channel() -> None:
    async with rig() as r:
        channel = await opened(r, "/upgrade/breaks")
        await channel.head()
        await channel.send(b"x")
        await channel.until_reset()
        await next_serves(r)


@scenario
async def test_what_an_application_said_before_it_broke_off_is_delivered_first() -> None:
    """The extension learns of the reset when it writes; what was said waits for credit and in the socket."""
    async with rig() as r:
        channel = await r.parked(2, **SECRET)
        r.router.policy.credit = False
        await channel.request("GET", "/upgrade/speaks", HEADERS, end=False)
        await channel.head()
        assert await channel.read(6) == b"speaks"
        await channel.send(b"x")
        await heard(r, "/upgrade/speaks/over")
        for _ in range(3):
            await channel.send(b"y")
            assert (await r.exchange("GET", "/text/5")).status == 200, "what came before it has been written"
        r.router.policy.credit = True
        channel.credit()
        assert await channel.read(SPOKEN) == pattern(SPOKEN)
        assert await channel.until_reset() == 8, "CANCEL"
        await next_serves(r)


@pytest.mark.parametrize("answered", [True, False])
@scenario
async def test_a_client_that_vanishes_ends_the_applications_connection(answered: bool) -> None:
    async with rig() as r:
        channel = await opened(r, "/upgrade/echo" if answered else "/stall")
        if answered:
            await channel.head()
        channel.reset()
        await next_serves(r)
        answer = await r.exchange("GET", "/counts")
        assert json.loads(answer.body).get("/upgrade/heard", 0) == 0


@scenario
async def test_bytes_before_the_101_are_the_routers_fault() -> None:
    async with rig() as r:
        channel = await opened(r, "/stall")
        await channel.send(b"GET /admin HTTP/1.1\r\n\r\n")
        await channel.until_reset()
        answer = await r.exchange("GET", "/counts")
        assert "/admin" not in json.loads(answer.body)


@scenario
async def test_neither_direction_holds_more_than_its_bound() -> None:
    async with rig() as r:
        channel = await r.parked(2, **SECRET)
        await channel.request("GET", "/upgrade/deaf", HEADERS, end=False)
        await channel.head()
        before = r.extension.resident()
        sent, last = 0, -1
        connection = channel.link.connection
        while sent != last:
            last = sent
            while room := min(16384, connection.local_flow_control_window(channel.stream)):
                await channel.send(bytes(room))
                sent += room
            assert sent < 64 << 20, "what the kernel holds, and a window"
            assert (await r.exchange("GET", "/text/5")).status == 200, "credit that was given has come"
        assert r.extension.resident() - before < 4096
        channel.reset()
        await next_serves(r)
