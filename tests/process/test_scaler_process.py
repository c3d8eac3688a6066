"""The scaler's process between a board that the test holds and a stand-in for Lambda."""

import asyncio
import base64
import re
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest

from lambda_dispatch.exits import EX_CONFIG
from lambda_dispatch.scaler.verdict import EXIT_NAMES
from lambda_dispatch.telemetry.view import take
from lambda_dispatch_core.board import board as b
from tests.support.held_board import NS, HeldBoard
from tests.support.stand_in import Invoke, StandIn, stand_in

Scenario = Callable[[HeldBoard, StandIn], Awaitable[None]]


def play(scenario: Scenario, *argv: str, prepare: Callable[[HeldBoard], None] = lambda held: None) -> None:
    async def run() -> None:
        held = HeldBoard(*argv)
        try:
            prepare(held)
            async with stand_in() as service:
                held.start(service.url)
                await asyncio.wait_for(scenario(held, service), 45)
        finally:
            held.close()

    asyncio.run(run())


async def opened(held: HeldBoard, service: StandIn, count: int = 1, running: int = 1) -> list[tuple[int, int]]:
    """So many instances, invoked for requests that wait and then run, and open."""
    held.demand(queued=1 if count == 1 else count * 50 // 3)
    invokes = await service.invokes(count)
    places = [held.opens(invoke.id) for invoke in invokes]
    held.demand(queued=0, running=running)
    return places


def test_a_request_that_waits_invokes_the_function_as_the_protocol_says() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        held.demand(queued=1)
        (invoke,) = await service.invokes(1)
        payload = invoke.payload
        assert uuid.UUID(payload["Id"]).version == 4
        assert payload["PoolId"] == "default"
        assert payload["DispatcherUrl"] == "http://router.test:5003/api/chunked"
        assert payload["NumberOfChannels"] == 20
        assert payload["NumberOfConnections"] == 1
        assert payload["InitOnly"] is False
        assert datetime.fromisoformat(payload["SentTime"]).utcoffset() is not None
        # The slot was there before the invoke was sent.
        slot, generation = held.place(payload["Id"])
        assert held.board.state(slot, generation) == b.INSTANCE_STARTING
        assert held.board.instance(slot).limit == 10
        # The payload carries the secret that the workers will find on the board; the log never shows it.
        secret = base64.urlsafe_b64decode(payload["Secret"] + "==")
        assert held.board.secret(slot) == secret != bytes(16)
        said = held.kill()
        assert payload["Secret"] not in said and payload["Id"] not in said

    play(scenario)


def test_an_instances_life_is_kept_when_it_has_ended() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        ((slot, _),) = await opened(held, service)
        created, opened_at = held.board.instance(slot).created, held.board.instance(slot).opened
        await held.until(lambda: held.board.list_instances() and held.board.instance(slot).state == b.INSTANCE_OPEN)
        (invoke,) = await service.invokes(1)
        held.demand(queued=0, running=0)
        invoke.ended("SelfLastActive", requests=3)
        await held.until(lambda: held.board.lived == 1)
        (life,) = held.board.list_lives()
        assert life.id == uuid.UUID(invoke.payload["Id"]).bytes[:4]
        assert (life.asked, life.opened) == (created, opened_at)
        assert life.ended > life.opened > life.asked
        assert EXIT_NAMES[life.reason - 1] == "SelfLastActive"
        assert not life.let_go

    play(scenario)


def test_a_function_timeout_of_seconds_is_said_once_and_starts_are_limited() -> None:
    """Such an instance leaves as soon as it comes; without a limit each would be replaced at once."""

    async def scenario(held: HeldBoard, service: StandIn) -> None:
        held.demand(queued=1)
        for count in range(1, 5):
            invoke = (await service.invokes(count))[-1]
            place = held.opens(invoke.id)
            invoke.ended("SelfDeadline", requests=1)
            held.worker.unpark(place[0])
        # Requests wait all the time; the budget would allow hundreds of starts. After the burst the scaler denies some.
        ticks = held.board.scaler_view().ticks
        await held.until(lambda: held.board.scaler_view().ticks > ticks + 2)
        said = held.kill()
        assert 'denied="function timeout too short"' in said
        assert said.count("scaler: function timeout too short") == 1
        assert "set the function's timeout to 900 s" in said

    play(scenario)


@pytest.mark.parametrize(("algorithm", "queued"), [("simple", 1666), ("adaptive", 1000)])
def test_a_hundred_instances_are_asked_for_from_one_look(algorithm: str, queued: int) -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        held.demand(queued=queued)
        invokes = await service.invokes(100)
        assert len({invoke.id for invoke in invokes}) == 100
        assert held.board.pool_counts(0).starting == 100
        await held.until(lambda: held.board.pool(0).desired == 100)

    play(scenario, f"--scaling-algorithm={algorithm}")


def test_an_invoke_that_returns_closes_its_instance_and_rings_the_workers() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (place,) = await opened(held, service)
        assert held.worker.reserve(*place)
        while held.rung():
            pass
        service.arrived[0].ended("SelfDeadline", requests=3)
        await held.until(lambda: held.state(place) == b.INSTANCE_CLOSED)
        await held.until(held.rung)
        # Not freed while anything is held of it.
        held.worker.release(place[0])
        assert held.state(place) == b.INSTANCE_CLOSED
        held.worker.unpark(place[0])
        await held.until(lambda: held.state(place) == b.INSTANCE_FREE)
        # It ended by itself, and a request still runs: there is a successor.
        assert len(await service.invokes(2)) == 2

    play(scenario)


def test_an_instance_that_asks_to_end_goes_as_soon_as_its_replacement_is_open() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (place,) = await opened(held, service)
        held.asks_to_end(service.arrived[0].id, wait=30.0)
        replacement = (await service.invokes(2))[1]
        assert held.board.instance(place[0]).goaway_at > time.monotonic_ns()
        held.opens(replacement.id)
        b.ring(held.scaler_bell)
        await held.until(lambda: held.board.instance(place[0]).goaway_at <= time.monotonic_ns())
        await held.until(held.rung)

    play(scenario)


def test_the_last_instance_is_let_go_when_nobody_needs_it() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (place,) = await opened(held, service)
        held.demand(queued=0, running=0)
        await held.until(lambda: held.state(place) == b.INSTANCE_DRAINING)
        assert held.board.instance(place[0]).goaway_at <= time.monotonic_ns()
        assert len(service.arrived) == 1

    play(scenario)


def test_the_floor_is_asked_to_stay_when_idle_and_nothing_else_is() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        floor = await service.invokes(2)
        assert [invoke.payload["IdleGraceMs"] for invoke in floor] == [900_000, 900_000]
        places = [held.opens(invoke.id) for invoke in floor]
        ticks = held.board.scaler_view().ticks
        await held.until(lambda: held.board.scaler_view().ticks > ticks + 10)
        assert [held.state(place) for place in places] == [b.INSTANCE_OPEN] * 2
        assert len(service.arrived) == 2

        held.demand(queued=100)
        more = (await service.invokes(5))[2:]
        assert not any("IdleGraceMs" in invoke.payload for invoke in more)
        # One that is idle and would end by itself goes first.
        places += [held.opens(invoke.id) for invoke in more]
        for place in places[2:4]:
            assert held.worker.reserve(*place)
        held.demand(queued=0, running=2)
        await held.until(lambda: held.state(places[4]) == b.INSTANCE_DRAINING)
        # So do those that are at work: the floor is what is left in the end.
        await held.until(lambda: held.state(places[2]) == held.state(places[3]) == b.INSTANCE_DRAINING)
        assert [held.state(place) for place in places[:2]] == [b.INSTANCE_OPEN] * 2

    play(scenario, "--min-instances=2")


def test_an_extension_that_does_not_stay_when_idle_is_not_invoked_again_and_again() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (invoke,) = await service.invokes(1)
        place = held.opens(invoke.id)
        held.asks_to_end(invoke.id, wait=0.0)
        invoke.ended("SelfLastActive")
        held.worker.unpark(place[0])
        await held.until(lambda: held.state(place) in (b.INSTANCE_CLOSED, b.INSTANCE_FREE))
        # Past the pause after which a floor of another kind would be topped up.
        ticks = held.board.scaler_view().ticks
        await held.until(lambda: held.board.scaler_view().ticks > ticks + 55)
        assert len(service.arrived) == 1
        # A request is no matter of the floor.
        held.demand(queued=1)
        assert "IdleGraceMs" in (await service.invokes(2))[1].payload
        said = held.kill()
        assert said.count("IdleGraceMs ignored") == 1

    play(scenario, "--min-instances=1")


@pytest.mark.parametrize(("took", "leaves"), [(64, True), (8, False)])
def test_an_instance_whose_deadline_is_near_is_replaced_where_requests_take_long(took: int, leaves: bool) -> None:
    id = uuid.uuid4()

    def prepare(held: HeldBoard) -> None:
        """An instance of an earlier scaler, with one request and 40 s left."""
        now = time.monotonic_ns()
        held.board.allocate_instance(0, id.bytes, 10, now, now + 40 * NS)
        assert held.worker.reserve(*held.opens(str(id)))
        held.served(took * NS)
        held.demand(queued=0, running=1)

    async def scenario(held: HeldBoard, service: StandIn) -> None:
        place = held.place(str(id))
        if not leaves:
            await held.until(lambda: held.board.scaler_view().ticks > 20)
            assert held.state(place) == b.INSTANCE_OPEN and not service.arrived
            return
        await held.until(lambda: held.state(place) == b.INSTANCE_DRAINING)
        assert held.board.instance(place[0]).goaway_at > time.monotonic_ns()  # a last resort until it is replaced

    play(scenario, prepare=prepare)


def test_scale_in_drains_the_least_busy() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        places = await opened(held, service, count=2, running=10)
        busy, quiet = places
        assert held.worker.reserve(*busy)
        held.demand(queued=0, running=1)
        await held.until(lambda: held.state(quiet) == b.INSTANCE_DRAINING)
        await held.until(held.rung)
        assert held.state(busy) == b.INSTANCE_OPEN

    play(scenario)


def test_failing_invokes_open_the_breaker_and_the_next_that_opens_closes_it() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        failing = True

        async def fail(invoke: Invoke) -> None:
            if failing:
                invoke.ended("RouterUnreachable")

        service.on_invoke = fail
        held.demand(queued=100)
        await held.until(lambda: held.board.pool(0).breaker != 0)
        pool = held.board.pool(0)
        assert pool.starts_failed >= 5
        assert pool.backoff_until > 0
        assert held.board.scaler_view().breaker == 1
        failing = False
        count = len(service.arrived)
        trial = (await service.invokes(count + 1))[count]
        held.opens(trial.id)
        await held.until(lambda: held.board.pool(0).breaker == 0)  # once it has been open for a while

    play(scenario, "--start-burst=50")


def test_functions_that_fail_in_every_way_are_told_apart_in_the_log() -> None:
    answers: list[Callable[[Invoke], None]] = [
        lambda invoke: invoke.answer(429, {}, **{"X-Amzn-ErrorType": "TooManyRequestsException"}),
        lambda invoke: invoke.answer(200, {"errorType": "Runtime.ExitError"}, X_Amz_Function_Error="Unhandled"),
        lambda invoke: invoke.answer(404, {}, **{"X-Amzn-ErrorType": "ResourceNotFoundException"}),
        lambda invoke: invoke.drop(),
    ]

    async def scenario(held: HeldBoard, service: StandIn) -> None:
        async def fail(invoke: Invoke) -> None:
            answers[(len(service.arrived) - 1) % len(answers)](invoke)

        service.on_invoke = fail
        held.demand(queued=1)
        await service.invokes(5)
        await held.until(lambda: held.board.scaler_view().invokes_failed >= 5)
        said = held.kill()
        view, exits = held.board.scaler_view(), take(held.board, 1, 1).pools[0].exits
        assert exits["Throttled"] == view.throttled >= 1 and sum(exits.values()) == view.invokes_ended
        assert all(exits[name] for name in ("Throttled", "FunctionError", "Refused", "Lost"))
        for expected in ("Throttled", "Runtime.ExitError", "ResourceNotFoundException", "Lost"):
            assert expected in said
        assert "verdict=throttled" in said

    play(scenario)


def test_the_budget_of_starts_is_kept() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        began = time.monotonic()
        held.demand(queued=1666)
        await service.invokes(8)
        spent = time.monotonic() - began
        assert len(service.arrived) <= 5 + 4 * (spent + 1)
        assert held.board.scaler_view().tokens_milli <= 1000

    play(scenario, "--start-burst=5", "--start-rate=4")


def test_init_only_buddies_follow_each_invoke_when_they_are_asked_for() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        held.demand(queued=1)
        first, second = (await service.invokes(2))[:2]
        assert second.payload["Id"] == first.id + "-initonly"
        assert (second.payload["InitOnly"], second.payload["NumberOfChannels"]) == (True, 0)
        second.ended("SelfInitOnly")
        assert held.board.pool_counts(0).starting == 1

    play(scenario, "--init-only-buddies")


def test_a_lost_connection_of_an_open_instance_does_not_end_the_instance() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (place,) = await opened(held, service)
        service.arrived[0].drop()
        await held.until(lambda: held.board.scaler_view().invokes_ended == 1)
        assert held.state(place) == b.INSTANCE_OPEN
        # Its channels go: then it is over.
        held.worker.unpark(place[0])
        await held.until(lambda: held.state(place) != b.INSTANCE_OPEN)

    play(scenario)


def test_a_scaler_that_is_killed_is_succeeded_by_one_that_adopts_its_instances() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        places = await opened(held, service, count=3, running=12)
        before = held.board.scaler_view()
        held.kill()
        held.start(service.url)
        await held.until(lambda: held.board.scaler_view().state == b.WORKER_READY)
        await held.until(lambda: held.board.scaler_view().ticks > 3)
        assert [held.state(place) for place in places] == [b.INSTANCE_OPEN] * 3
        assert len(service.arrived) == 3  # nothing was started again
        assert held.board.pool(0).desired >= 3
        assert held.board.scaler_view().invokes == before.invokes
        # One of them ends: nobody tells the successor, its silence does.
        held.worker.unpark(places[0][0])
        await held.until(lambda: held.state(places[0]) == b.INSTANCE_FREE)
        assert len(await service.invokes(4)) == 4

    play(scenario)


def test_a_killed_scaler_is_no_way_to_a_fresh_budget() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        held.demand(queued=1666)
        await service.invokes(5)
        await held.until(lambda: held.board.scaler_view().tokens_milli == 0)
        held.kill()
        held.start(service.url)
        await held.until(lambda: held.board.scaler_view().ticks > 3 and held.board.scaler_view().state == 2)
        assert len(service.arrived) <= 6

    play(scenario, "--start-burst=5", "--start-rate=0.1")


def test_sigterm_lets_every_instance_go_and_waits_for_the_invokes() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        places = await opened(held, service, count=2, running=10)
        assert held.process is not None
        held.process.send_signal(signal.SIGTERM)
        await held.until(lambda: all(held.state(place) == b.INSTANCE_DRAINING for place in places))
        await held.until(held.rung)
        held.demand(queued=100)
        for invoke in service.arrived:
            invoke.ended("RouterGoAway", requests=1)
        code, said = await held.ended()
        assert (code, len(service.arrived)) == (0, 2)
        assert "instances_left=0" in said

    play(scenario)


def test_sigterm_does_not_wait_for_ever_and_a_second_one_not_at_all() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (place,) = await opened(held, service)
        assert held.process is not None
        held.process.send_signal(signal.SIGTERM)
        await held.until(lambda: held.state(place) == b.INSTANCE_DRAINING)
        held.process.send_signal(signal.SIGTERM)
        code, said = await held.ended()
        assert code == 0
        assert "instances_left=1" in said

    play(scenario)


def test_an_orphaned_scaler_ends() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        await held.until(lambda: held.board.scaler_view().state == b.WORKER_READY)
        held.supervisor_dies()
        code, said = await held.ended()
        assert code == 0
        assert "supervisor gone" in said

    play(scenario)


def test_while_all_workers_drain_only_waiting_requests_start_anything() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        (place,) = await opened(held, service)
        held.worker.set_worker_state(0, b.WORKER_DRAINING)
        service.arrived[0].ended("RouterGoAway", requests=1)
        await held.until(lambda: held.state(place) == b.INSTANCE_CLOSED)
        ticks = held.board.scaler_view().ticks
        await held.until(lambda: held.board.scaler_view().ticks > ticks + 3)
        assert len(service.arrived) == 1
        held.demand(queued=1)
        await service.invokes(2)

    play(scenario)


def test_pools_have_their_own_functions_and_are_forgotten_when_nobody_asks() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        claimed = held.worker.claim_pool(b"other:live", time.monotonic_ns())
        assert claimed is not None
        pool = claimed[0]
        held.used_now(pool)
        held.demand(queued=1, pool=pool)
        (invoke,) = await service.invokes(1)
        assert invoke.path.endswith("/functions/other/invocations?Qualifier=live")
        assert invoke.payload["PoolId"] == "other:live"
        held.demand(queued=0, pool=pool)
        invoke.ended("RouterGoAway")
        await held.until(lambda: held.board.pool(pool).state == b.POOL_RETIRED)
        assert held.board.pool(0).state == b.POOL_ACTIVE

    play(scenario, "--pool-idle-timeout=1")


def test_every_decision_is_one_line_with_its_inputs_and_nothing_secret_is_said() -> None:
    async def scenario(held: HeldBoard, service: StandIn) -> None:
        await opened(held, service)
        first = held.board.list_decisions()[0]
        assert (first.before, first.desired, first.pending, first.started, first.held) == (0, 1, 1, 1, "")
        said = held.kill()
        line = next(line for line in said.splitlines() if " decision " in line)
        assert re.search(r'desired=1 change="out from zero: 0 to 1" proposed=1 wanted=1 started=1 .*pending=1', line)
        assert "hush-hush" not in said

    play(scenario, "--function-secret=hush-hush")


def test_lambdas_default_timeout_does_not_become_an_invoke_per_life() -> None:
    """Lambda ends each instance by the function's timeout; a request keeps waiting, and starts back off."""

    async def scenario(held: HeldBoard, service: StandIn) -> None:
        held.demand(queued=1)
        for count in range(1, 6):
            invoke = (await service.invokes(count))[count - 1]
            slot, _ = held.opens(invoke.id)
            held.worker.unpark(slot)
            error = {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 3.00 seconds"}
            invoke.answer(200, error, x_amz_function_error="Unhandled")
        said = held.kill()
        assert said.count("scaler: function timeout too short") == 1
        assert 'denied="function timeout too short"' in said

    play(scenario)


def test_no_region_is_a_configuration_error() -> None:
    async def run() -> None:
        held = HeldBoard()
        try:
            held.start("", AWS_EC2_METADATA_DISABLED="true")
            code, said = await held.ended()
            assert code == EX_CONFIG
            assert "set AWS_REGION" in said
        finally:
            held.close()

    asyncio.run(run())
