"""A floor by schedule in the whole router: a reload changes it, an operator's limits win, and it is shown."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.e2e.test_commands import Seen, tell
from tests.e2e.test_reload import hang_up
from tests.process.test_admin import ask
from tests.support.loop import run, until
from tests.support.router_process import RouterProcess


async def get(router: RouterProcess, path: str) -> Any:
    answer = await asyncio.to_thread(ask, router.ports["admin"], path)
    return json.loads(answer.text)


def test_a_scheduled_floor_is_open_is_changed_by_a_reload_and_gives_way_to_an_operator(shared: Path) -> None:
    run(floors(shared), 90)


async def floors(shared: Path) -> None:
    file = shared / "router.toml"
    file.write_text('MinInstancesSchedule = "* * * * *=1"\nMaxInstances = 20\n')
    async with RouterProcess.running("--config", str(file), "--admin-port", "0", "--admin-read-only") as router:
        seen = Seen(router)
        await until(lambda: len(seen.open()) == 1, "one instance without a request")
        # The admin process looks once a second.
        while (shown := (await get(router, "/api/v1/state"))["pools"][0])["open"] != 1:
            pass
        assert shown["min_instances"] == 1
        assert (shown["schedule"]["count"], shown["schedule"]["entry"]) == (1, "* * * * *")
        decision = (await get(router, "/api/v1/decisions"))["decisions"][-1]
        assert decision["bounds"] == ["MinInstancesSchedule 1"]

        file.write_text('MinInstancesSchedule = "* * * * *=3"\nMaxInstances = 20\n')
        hang_up(router)
        await until(lambda: len(seen.open()) == 3, "the floor of the new schedule", 30)
        assert "live=MinInstancesSchedule" in router.text()

        await tell(router, "limits", min=2)
        await until(lambda: len(seen.open()) == 2, "the operator's floor", 30)
        await tell(router, "limits", clear=True)
        await until(lambda: len(seen.open()) == 3, "the scheduled floor again", 30)
        assert seen.replays() == [0, 0]
        seen.board.close()
