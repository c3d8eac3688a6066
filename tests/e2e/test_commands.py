"""Commands of operators against the whole router: what they change is there, stays, is recorded and replays."""

import asyncio
import os
import signal
from typing import Any

from lambda_dispatch import ctl
from lambda_dispatch.scaler.record import differences, from_board
from lambda_dispatch.telemetry import status
from lambda_dispatch_core.board import board as b
from tests.support.clients import ask
from tests.support.loop import scenario, until
from tests.support.router_process import RouterProcess


async def tell(router: RouterProcess, op: str, **more: Any) -> dict[str, Any]:
    assert router.process is not None
    command = {"op": op, "who": "Zoë", "reason": "a test", **more}
    answer = await asyncio.to_thread(ctl.send, command, router.process.pid)
    assert answer["ok"], answer
    return answer


class Seen:
    """The router's board from outside."""

    def __init__(self, router: RouterProcess) -> None:
        assert router.process is not None
        self.board = status.open_board(router.process.pid)

    def open(self) -> set[str]:
        return {it.id.hex()[:8] for it in self.board.list_instances() if it.state == b.INSTANCE_OPEN}

    def replays(self) -> list[int]:
        """The kinds of command in the ring; every decision there can be taken again."""
        decisions = self.board.list_decisions()
        assert [it for it in decisions if differences(from_board(it))] == []
        assert {(it.who, it.why) for it in decisions if it.command} <= {("Zoë", "a test"), ("lambda-dispatch", ENDED)}
        return [it.command - 1 for it in decisions if it.command]


ENDED = "every instance was replaced"


@scenario
async def test_limits_recycling_and_draining_change_the_instances_and_are_recorded() -> None:
    async with RouterProcess.running("--max-instances", "20") as router:
        seen = Seen(router)
        answer = await tell(router, "limits", min=2)
        assert answer["taken_up"] and answer["pool"]["min_instances"] == 2
        await until(lambda: len(seen.open()) == 2, "two instances without a request")
        assert (await ask("h1", router.ports["http"], "/")).status == 200

        before = seen.open()
        await tell(router, "recycle")
        await until(lambda: len(seen.open()) == 2 and not seen.open() & before, "both instances replaced")
        await until(lambda: seen.board.override(0, b.OVERRIDE_RECYCLE).ended, "the end of recycling")  # type: ignore[union-attr]

        one = sorted(seen.open())[0]
        await tell(router, "drain-instance", instance=one)
        await until(lambda: len(seen.open()) == 2 and one not in seen.open(), "the instance replaced")

        kinds = seen.replays()
        assert b.OVERRIDE_LIMITS in kinds and b.OVERRIDE_INSTANCE in kinds and b.OVERRIDE_RECYCLE in kinds
        seen.board.close()


@scenario
async def test_limits_outlive_the_scaler_and_can_become_fewer_than_what_runs() -> None:
    async with RouterProcess.running("--max-instances", "20") as router:
        seen = Seen(router)
        await tell(router, "limits", min=2)
        await until(lambda: len(seen.open()) == 2, "two instances without a request")
        generation = seen.board.scaler_view().generation
        os.kill(seen.board.scaler_view().pid, signal.SIGKILL)
        await until(
            lambda: (
                seen.board.scaler_view().generation > generation
                and seen.board.scaler_view().state == b.WORKER_READY
                and seen.board.pool(0).min_instances == 2
            ),
            "the next scaler has the override",
        )
        await tell(router, "limits", min=1, max=1)
        await until(lambda: len(seen.open()) == 1, "one instance less")
        assert (await tell(router, "limits", clear=True))["pool"]["max_instances"] == 20
        assert seen.replays() == [b.OVERRIDE_LIMITS] * 3
        seen.board.close()


@scenario
async def test_a_paused_pool_at_zero_starts_nothing_until_it_is_resumed() -> None:
    async with RouterProcess.running("--incoming-request-timeout", "30") as router:
        seen = Seen(router)
        assert (await tell(router, "pause"))["pool"]["overrides"][0]["says"] == "scaling paused at 0"
        waiting = asyncio.create_task(ask("h1", router.ports["http"], "/"))
        await until(lambda: seen.board.pool_totals(0).queued == 1, "the request waits")
        ticks = seen.board.scaler_view().ticks
        await until(lambda: seen.board.scaler_view().ticks > ticks + 5, "the scaler has looked")
        assert seen.board.scaler_view().invokes == 0 and not waiting.done()
        await tell(router, "resume")
        assert (await waiting).status == 200
        assert seen.replays() == [b.OVERRIDE_PAUSE, b.OVERRIDE_PAUSE]
        seen.board.close()
