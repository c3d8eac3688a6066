"""MinInstances with our own extension: what is kept warm stays one and the same invoke. Real processes throughout."""

import asyncio

from benchmarks.load.rig import Rig

from lambda_dispatch_core.board import board as b
from tests.support.clients import RawClient
from tests.support.loop import run, until

FLOOR = 2


def opened(rig: Rig) -> set[bytes]:
    with rig.board() as board:
        return {seen.id for seen in board.list_instances() if seen.state == b.INSTANCE_OPEN}


async def looks(rig: Rig, count: int) -> None:
    """Waits until the scaler has looked at the board so many times more: ten times a second."""
    with rig.board() as board:
        before = board.scaler_view().ticks
        await until(lambda: board.scaler_view().ticks >= before + count, f"{count} looks of the scaler", 60)


def invokes(rig: Rig) -> tuple[int, int]:
    """Sent ever, and open."""
    with rig.board() as board:
        scaler = board.scaler_view()
        return scaler.invokes, scaler.open_invokes


async def answered(port: int, path: str = "/") -> None:
    async with await RawClient.dial(port) as client:
        assert (await client.get(path)).status == 200


def test_with_no_traffic_the_same_instances_stay_open_in_the_same_invokes() -> None:
    async def scenario(rig: Rig) -> None:
        await until(lambda: len(opened(rig)) == FLOOR, "the floor to open", 60)
        kept = opened(rig)
        # A dozen times the grace after which an instance that is not asked to stay ends.
        await looks(rig, 30)
        assert opened(rig) == kept
        assert invokes(rig) == (FLOOR, FLOOR)
        # They are good for a request, and stay afterwards.
        await answered(rig.port)
        await looks(rig, 10)
        assert opened(rig) == kept
        assert invokes(rig) == (FLOOR, FLOOR)

    with Rig(workers=2, flags=(f"--min-instances={FLOOR}",)) as rig:
        run(scenario(rig), 120)
        assert rig.close() == []


def test_what_a_burst_brings_beyond_the_floor_goes_again_and_the_floor_stays() -> None:
    async def scenario(rig: Rig) -> None:
        await until(lambda: len(opened(rig)) == FLOOR, "the floor to open", 60)
        kept = opened(rig)
        await asyncio.gather(*(answered(rig.port, "/delay?delay=200") for _ in range(20)))
        assert invokes(rig)[0] > FLOOR
        # A start that was decided during the burst may be sent after its last answer.
        await until(lambda: invokes(rig)[1] == FLOOR, "what the burst brought to end", 60)
        sent, _ = invokes(rig)
        await looks(rig, 30)
        assert opened(rig) == kept
        assert invokes(rig) == (sent, FLOOR)

    with Rig(workers=2, flags=(f"--min-instances={FLOOR}", "--max-concurrent-count=1")) as rig:
        run(scenario(rig), 120)
        assert rig.close() == []
