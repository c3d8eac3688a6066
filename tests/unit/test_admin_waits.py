"""Waits over time, in classes that are unions of the board's buckets."""

from types import SimpleNamespace
from typing import Any

from lambda_dispatch.admin.waits import BOUNDS, CLASSES, KEPT, Waits
from lambda_dispatch_core.board import board as b


def view(at_ms: int, **counts: int) -> Any:
    wait = [0] * b.BUCKETS
    for seconds, count in counts.items():
        wait[b.bucket_of(int(seconds.removeprefix("ns_")))] += count
    return SimpleNamespace(taken_ms=at_ms, wait=tuple(wait))


def test_every_bucket_falls_into_the_class_that_covers_it() -> None:
    assert len(CLASSES) == b.BUCKETS
    assert list(CLASSES) == sorted(CLASSES)
    assert (CLASSES[0], CLASSES[-1], max(CLASSES)) == (0, len(BOUNDS), len(BOUNDS))
    for place, bound in zip(CLASSES, b.bucket_bounds(), strict=True):
        if bound is not None and place < len(BOUNDS):
            assert bound * 1000 <= BOUNDS[place] * 1.0001
            assert place == 0 or bound * 1000 > BOUNDS[place - 1] * 1.0001


def test_each_step_counts_what_came_in_it_and_old_steps_go() -> None:
    waits = Waits(view(0))
    waits.feed(view(1000, ns_5000=9))
    assert waits.document()["counts"] == [], "a step is not over"
    waits.feed(view(10_000, ns_5000=10, ns_3000000000=2))
    waits.feed(view(20_000, ns_5000=10, ns_3000000000=3))
    shown = waits.document()
    first, second = shown["counts"]
    assert (first[0], first[BOUNDS.index(4000.0)], sum(first)) == (10, 2, 12)
    assert (second[BOUNDS.index(4000.0)], sum(second)) == (1, 1)
    assert shown["times_ms"] == [10_000, 20_000]
    for step in range(3, KEPT + 9):
        waits.feed(view(step * 10_000))
    assert len(waits.document()["counts"]) == KEPT
