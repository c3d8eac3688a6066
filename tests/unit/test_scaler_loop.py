"""The scaler's loop between its look at the board and what it does then."""

import asyncio
import os
import time
from typing import Any

from lambda_dispatch.scaler.loop import LEAST_REST, Scaler, rest
from lambda_dispatch.scaler.model import TICK
from lambda_dispatch.scaler.policies.adaptive import SOONEST
from lambda_dispatch_core.board import board as b
from tests.support.held_board import NS, HeldBoard


class Meanwhile:
    """The board; a request reaches an instance as soon as the instances were looked at."""

    def __init__(self, held: HeldBoard, place: tuple[int, int]) -> None:
        self._held, self._place = held, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held.board, name)

    def list_instances(self) -> list[b.Instance]:
        found = self._held.board.list_instances()
        assert self._held.worker.reserve(*self._place)
        return found


def opened(held: HeldBoard) -> tuple[int, int]:
    now = time.monotonic_ns()
    place = held.board.allocate_instance(0, os.urandom(16), 10, now, now + 900 * NS)
    assert place is not None and held.worker.open_instance(*place, now)
    return place


def scaler(held: HeldBoard, board: Any) -> Scaler:
    api: Any = None  # nothing is started
    return Scaler(held.boot(), held.config, board, api, "http://router.test")


def test_an_idle_instance_that_gets_a_request_before_it_is_let_go_stays() -> None:
    held = HeldBoard("--scaling-algorithm=adaptive")

    async def scenario() -> None:
        place = opened(held)
        scaler(held, Meanwhile(held, place)).look()
        assert held.state(place) == b.INSTANCE_OPEN
        held.worker.release(place[0])
        scaler(held, held.board).look()
        assert held.state(place) == b.INSTANCE_DRAINING

    try:
        asyncio.run(scenario())
    finally:
        held.close()


def test_a_look_comes_sooner_where_an_instance_is_to_end_when_its_request_is_over() -> None:
    """A request of 10 ms at a time, seldom: nobody but the clock tells the scaler that it is over."""
    held = HeldBoard("--scaling-algorithm=adaptive")

    async def scenario() -> None:
        place, looks = opened(held), scaler(held, held.board)
        looks._fleet(held.board.list_pools()[0], time.monotonic()).rates.resume(0.5, 10.0)
        assert held.worker.reserve(*place)
        held.demand(0, 1, bell=False)
        looks.look()
        assert looks._again == SOONEST
        held.demand(0, 0, bell=False)
        held.worker.release(place[0])
        looks.look()
        assert (held.state(place), looks._again) == (b.INSTANCE_DRAINING, TICK)

    try:
        asyncio.run(scenario())
    finally:
        held.close()


def test_looks_that_take_long_do_not_follow_each_other_at_once() -> None:
    assert rest(SOONEST, 0.0) == SOONEST
    assert rest(SOONEST, 0.005) == LEAST_REST * 0.005 > SOONEST
    assert rest(SOONEST, 1.0) == rest(TICK, 0.0) == TICK
