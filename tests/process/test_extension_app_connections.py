"""Connections from the extension to the application: kept, replaced, closed, and answers that break off."""

import asyncio
import json

import pytest

from tests.support.apps.raw_app import pattern
from tests.support.extension_rig import Rig, run
from tests.support.router_peer import PATIENCE

CANCEL, INTERNAL_ERROR, REFUSED_STREAM = 8, 2, 7


def test_an_application_that_closes_after_each_answer_costs_no_request() -> None:
    async def body(r: Rig) -> None:
        for _ in range(100):
            answer = await r.exchange("POST", "/close-after", [], b"x")
            assert (answer.status, answer.body) == (200, b"bye")

    run(body, 2)


def test_connections_are_kept_and_used_again() -> None:
    async def body(r: Rig) -> None:
        for _ in range(50):
            await r.exchange("GET", "/text/4")
        counts = json.loads((await r.exchange("GET", "/counts")).body)
        assert counts["/text/4"] == 50
        assert counts["connections"] <= 3  # health check, one kept, one race at most

    run(body)


def test_a_kept_connection_that_went_stale_is_replaced_once() -> None:
    async def body(r: Rig) -> None:
        for _ in range(10):
            assert (await r.exchange("GET", "/stale")).body == b"fresh"

    run(body)


@pytest.mark.parametrize("served", [0, 1, 2])
def test_a_request_that_a_kept_connection_reset_unread_is_sent_again(served: int) -> None:
    """However many answers the connection had before: the first reads of a connection are not made as later ones."""

    async def body(r: Rig) -> None:
        for _ in range(served):
            await r.exchange("GET", "/text/4")
        assert (await r.exchange("GET", "/deaf")).body == b"deaf"
        assert (await r.exchange("POST", "/echo-length", [], b"once")).body == b"once"
        counts = json.loads((await r.exchange("GET", "/counts")).body)
        assert (counts["/deaf"], counts["/echo-length"]) == (1, 1)

    run(body)


def test_an_idle_connection_is_closed_before_the_application_does() -> None:
    async def body(r: Rig) -> None:
        await r.exchange("GET", "/text/4")
        files = r.extension.files()
        async with asyncio.timeout(PATIENCE):
            while r.extension.files() != files - 1:  # noqa: ASYNC110  # nothing tells of another process's descriptors
                await asyncio.sleep(0.02)

    run(body, env={"LAMBDA_DISPATCH_APP_IDLE_TIMEOUT_MS": "100"})


@pytest.mark.parametrize(
    ("path", "code"),
    [("/drop", CANCEL), ("/reset", CANCEL), ("/garbage", INTERNAL_ERROR), ("/half-head", CANCEL)],
)
def test_an_application_that_does_not_answer_costs_that_request_only(path: str, code: int) -> None:
    async def body(r: Rig) -> None:
        for _ in range(3):
            channel = await r.router.parked()
            await channel.request("POST", path, [("content-length", "0")])
            assert await channel.until_reset() == code
        assert (await r.exchange("GET", "/text/4")).body == b"all "

    run(body)


@pytest.mark.parametrize(
    ("path", "code", "got"), [("/bad-chunk", INTERNAL_ERROR, b"hello"), ("/short", CANCEL, b"short")]
)
def test_an_answer_that_breaks_off_is_never_passed_off_as_whole(path: str, code: int, got: bytes) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        await channel.request("GET", path)
        assert await channel.until_reset() == code
        assert not channel.ended
        assert (await r.exchange("GET", "/text/4")).body == b"all "

    run(body)


def test_bytes_after_an_answer_never_reach_the_next_request() -> None:
    async def body(r: Rig) -> None:
        for _ in range(5):
            assert (await r.exchange("GET", "/excess")).body == b"ok"
            assert (await r.exchange("GET", "/text/4")).body == b"all "

    run(body)


def test_an_answer_before_the_end_of_the_request_lets_the_request_finish() -> None:
    async def body(r: Rig) -> None:
        for path, status in (("/early", 200), ("/early-close", 413)):
            channel = await r.router.parked()
            await channel.send(f"POST {path} HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n".encode())
            answer = await channel.answer()
            assert answer.status == status
            await channel.send(pattern(3_000_000), end=True)
            again = await r.router.parked()
            assert again.id == channel.id
            r.router.park_again(again)

    run(body)
