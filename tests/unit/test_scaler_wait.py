"""What the next request will wait, from what starts and what becomes free."""

import pytest

from lambda_dispatch.scaler.model import Instance, Observation, State
from lambda_dispatch.scaler.wait import LONGEST, predicted


def seen(**values: object) -> Observation:
    given = {"pending": 0, "running": 0, "recent": 0, "idle_for": 0.0, "per_second": None, "mean_ms": 500.0}
    given["takes_ms"] = values.pop("takes_ms", 500.0)
    return Observation(**{"now": 100.0, "cold": 2.0, "thaw": 0.1, **given, **values})  # type: ignore[arg-type]


def full(count: int) -> tuple[Instance, ...]:
    return tuple(Instance(slot, State.OPEN, 0.0, 10) for slot in range(count))


def test_a_free_slot_is_no_wait() -> None:
    assert predicted(seen(running=9, instances=(Instance(0, State.OPEN, 0.0, 9),)), 10) == 0


def test_without_an_instance_it_is_a_start() -> None:
    assert predicted(seen(), 10) == 2.0
    assert predicted(seen(frozen=1), 10) == 0.1


def test_the_queue_is_served_by_slots_that_become_free() -> None:
    # 20 slots of half a second: 40 a second; 19 wait, this is the 20th.
    assert predicted(seen(pending=19, running=20, instances=full(2)), 10) == pytest.approx(0.5)


def test_what_starts_brings_slots_when_it_opens() -> None:
    starting = (Instance(9, State.STARTING, 99.5),)  # cold: opens at 101.5
    assert predicted(seen(pending=5, instances=starting), 10) == pytest.approx(1.5)
    # 10 slots of 10 s: one a second; at 101.5 s one and a half are served and ten slots come.
    slow = seen(pending=11, running=10, takes_ms=10_000.0, instances=(*full(1), *starting))
    assert predicted(slow, 10) == pytest.approx(1.5 + 0.5 / 2)


def test_it_is_bounded() -> None:
    assert predicted(seen(pending=10**6, running=1, takes_ms=60_000.0, instances=full(1)), 10) == LONGEST
