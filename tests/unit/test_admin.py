"""The pure parts of the admin process: verdicts, patches, history."""

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_dispatch import config
from lambda_dispatch.admin import decisions, history
from lambda_dispatch.admin.access import Token
from lambda_dispatch.admin.stream import KEPT, Stream, keyed, patch
from lambda_dispatch.admin.verdict import verdict
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.telemetry.view import PoolView, View, take
from lambda_dispatch_core.board.board import Board, Decision


@pytest.fixture
def seen() -> Iterator[View]:
    board = Board.create(2, instances=64, pools=2)
    board.claim_pool(b"shop", 1)
    board.start_worker(0, 0, 1)
    board.set_pool_limits(0, limit=10, channels=20, min_instances=0, max_instances=40)
    yield take(board, time.monotonic_ns(), 1_000_000_000)
    board.close()


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({}, "ok", "idle: no instance open, the next request starts one"),
        ({"desired": 1}, "ok", "idle: no instance open, the next request starts one"),
        ({"open": 3, "desired": 3, "in_flight": 7}, "ok", "ok: 3 open, 7 in flight, no request waits"),
        (
            {"open": 14, "desired": 40, "starting": 20, "queued": 9, "oldest_queued": 0.32},
            "busy",
            "scaling: 14 of 40 open, 9 queued, oldest wait 320 ms",
        ),
        (
            {"open": 40, "desired": 40, "queued": 5, "oldest_queued": 2.0},
            "bad",
            "held back: maximum of 40 instances reached, 5 queued, oldest wait 2.0 s",
        ),
        (
            {"open": 2, "desired": 2, "queued": 1, "oldest_queued": 0.01, "in_flight": 20},
            "busy",
            "all slots busy: 20 requests on 2 instances, 1 queued, oldest wait 10 ms",
        ),
        (
            {"breaker": "open", "backoff": 3.0, "queued": 1, "oldest_queued": 1.0},
            "bad",
            "breaker open: instance starts keep failing; next start in 3.0 s, 1 queued, oldest wait 1.0 s",
        ),
        ({"breaker": "half-open"}, "bad", "breaker half-open: a trial start is under way"),
        ({"backoff": 1.0, "desired": 2}, "bad", "backing off after failed starts: next start in 1.0 s"),
    ],
)
def test_a_verdict_names_what_holds_the_pool_back(
    seen: View, changes: dict[str, object], level: str, text: str
) -> None:
    pool: PoolView = dataclasses.replace(seen.pools[0], **changes)  # type: ignore[arg-type]
    assert verdict(pool) == (level, text)


def apply(state: object, changes: object) -> object:
    """RFC 7386, as its section 2 has it."""
    if not isinstance(changes, dict):
        return changes
    result = dict(state) if isinstance(state, dict) else {}
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result


def test_a_patch_turns_the_old_state_into_the_new_one() -> None:
    old = {"a": 1, "b": {"x": 1, "y": {"z": 2}}, "gone": 3, "same": {"k": 1}}
    new = {"a": 2, "b": {"y": {"z": 3}, "n": 4}, "same": {"k": 1}}
    changes = patch(old, new)
    assert apply(old, changes) == new and "same" not in changes


def test_spans_that_only_grow_make_no_patch(seen: View) -> None:
    later = dataclasses.replace(
        seen, uptime=99.0, workers=tuple(dataclasses.replace(w, silent=9.9, uptime=9.9) for w in seen.workers)
    )
    assert patch(keyed(seen.document()), keyed(later.document())) == {}


def test_a_stream_whose_client_missed_more_than_is_kept_begins_again(seen: View) -> None:
    async def scenario() -> None:
        stream = Stream(1000)
        for number in range(KEPT + 10):
            stream.feed({**seen.document(), "pid": number})
        first = await anext(stream.follow(str(1001)))
        assert first.startswith(b"event: snapshot\n")
        kept = stream.follow(str(1000 + KEPT + 8))
        events = [await anext(kept), await anext(kept)]
        assert [event.split(b"\n")[0] for event in events] == [b"event: delta"] * 2
        assert json.loads(events[1].split(b"data: ")[1])["pid"] == KEPT + 9
        await kept.aclose()  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_a_number_of_an_earlier_process_is_answered_with_a_snapshot(seen: View) -> None:
    async def scenario() -> None:
        before, after = Stream(1_000_000), Stream(1_000_000 + 3_000_000)  # three seconds later
        for _ in range(50):
            before.feed(seen.document())
        after.feed(seen.document())
        last = (await anext(before.follow(None))).split(b"id: ")[1].split(b"\n")[0].decode()
        assert (await anext(after.follow(last))).startswith(b"event: snapshot\n")

    asyncio.run(scenario())


def test_history_keeps_rates_per_second_and_is_bounded(seen: View) -> None:
    kept = history.History(seen)
    now = seen
    for second in range(1, 1000):
        totals = {**now.totals, "requests": now.totals["requests"] + 50}
        now = dataclasses.replace(now, taken_ms=seen.taken_ms + 1000 * second, totals=totals)
        kept.feed(now)
    recent = kept.document("15m", ("requests", "queued", "wait_p99"))
    assert recent["step"] == 1 and len(recent["times_ms"]) == 900
    assert set(recent["series"]["requests"]) == {50.0} and set(recent["series"]["wait_p99"]) == {None}
    day = kept.document("24h", ("requests",))
    assert len(day["times_ms"]) == 999 // 60 and day["series"]["requests"][0] == 50.0


@pytest.mark.parametrize(
    ("arguments", "good"),
    [
        (["--admin-host", "0.0.0.0"], False),
        (["--admin-host", "router.internal"], False),
        (["--admin-host", "0.0.0.0", "--admin-read-only"], True),
        (["--admin-host", "0.0.0.0", "--admin-token", "x" * 16], True),
        (["--admin-host", "0.0.0.0", "--admin-port", "-1"], True),
        (["--admin-host", "::1"], True),
        (["--admin-host", "localhost"], True),
        (["--admin-token", "short"], False),
    ],
)
def test_an_address_that_others_reach_needs_a_token_or_a_decision(arguments: list[str], good: bool) -> None:
    given = ["--function-name", "f", *arguments]
    if good:
        config.load({}, given)
        return
    with pytest.raises(ConfigError) as refused:
        config.load({}, given)
    assert any("admin" in problem for problem in refused.value.problems)


def taken(**changes: object) -> Decision:
    still = Decision(1, 1, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 40, -1, -1, "", 0, 0, 0, (), 0, 0, "", "")
    return still._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "why", "bounds"),
    [
        (
            {"desired": 7, "proposed": 9, "pending": 30, "running": 20, "wanted": 5, "started": 5},
            "scale out: 30 waiting and 20 running ask for 9",
            ["step size"],
        ),
        ({"desired": 1, "proposed": 1, "running": 3}, "scale in: 0 waiting and 3 running ask for 1", []),
        (
            {"wanted": 3, "started": 1, "held": "rate of starts"},
            "start missing instances: 2 of 2 there",
            ["rate of starts"],
        ),
        ({"wanted": 3, "held": "back-off", "proposed": 40}, "starts held back", ["MaxInstances 40", "back-off"]),
        ({"closed": 1, "open": 3}, "close surplus: 3 open, 2 desired", []),
        ({"released": 1}, "let draining instances go: their replacements are open", []),
        ({"recycled": 1}, "recycle: 1 told to drain, replaced first", []),
        ({"command": 1, "who": "Zoë", "why": "sale", "desired": 3}, "limits changed by Zoë: sale", []),
        (
            {"desired": 40, "proposed": 40, "overrides": 1, "pending": 9},
            "scale out: 9 waiting and 0 running ask for 40",
            ["maximum by override 40"],
        ),
        ({}, "starts no longer held back", []),
    ],
)
def test_a_decision_says_why_and_what_bounded_it(changes: dict[str, object], why: str, bounds: list[str]) -> None:
    it = taken(**changes)
    assert (decisions.reason(it), decisions.bounds(it)) == (why, bounds)


def test_a_token_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token-number-one")
    token = Token("AdminTokenFile", "", str(file))
    assert token.matches(b"token-number-one")
    file.unlink()
    os.mkfifo(file)
    assert token.matches(b"token-number-one"), "the last good token stays"
