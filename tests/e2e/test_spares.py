"""FrozenSpares against the embedded Lambda: a burst meets environments that are there, without one open before it."""

import asyncio

import pytest
from benchmarks.load.rig import Rig

from tests.e2e.test_floor import answered, invokes, looks
from tests.support.loop import run, until

SPARES = 3


def environments(rig: Rig) -> int:
    return len(rig.environments())


@pytest.mark.parametrize("spares", [0, SPARES])
def test_a_burst_makes_no_new_environment_where_spares_are_frozen(spares: int) -> None:
    async def scenario(rig: Rig) -> None:
        with rig.board() as board:
            await until(lambda: board.pool(0).frozen == spares, "the spares to be frozen", 60)
        await until(lambda: invokes(rig) == (spares, 0), "their invokes to be over", 60)
        assert rig.statistics()["cold_starts"] == environments(rig) == spares
        # Enough for three instances; more than three may not be.
        await asyncio.gather(*(answered(rig.port, "/delay?delay=300") for _ in range(30)))
        made = rig.statistics()["cold_starts"] - spares
        assert made == 0 if spares else made > 0
        await until(lambda: invokes(rig)[1] == 0, "every instance to end", 60)
        with rig.board() as board:
            await until(lambda: board.pool(0).frozen >= spares, "the environments to be frozen again", 60)
        sent, _ = invokes(rig)
        await looks(rig, 10)
        assert invokes(rig) == (sent, 0), "what is frozen needs no round yet"

    flags = (f"--frozen-spares={spares}", f"--max-instances={SPARES}", "--scaling-algorithm=adaptive")
    with Rig(workers=1, flags=flags) as rig:
        run(scenario(rig), 180)
        assert rig.close() == []
