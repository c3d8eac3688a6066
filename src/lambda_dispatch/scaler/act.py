"""The only code that touches Lambda: starts instances and sees them end."""

import asyncio
import base64
import json
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from lambda_dispatch.function_name import FunctionName
from lambda_dispatch.scaler.fleet import LIFETIME, Fleet, Run
from lambda_dispatch.scaler.lambda_api import Reply
from lambda_dispatch.scaler.observe import NS
from lambda_dispatch.scaler.step import Order
from lambda_dispatch.scaler.transport import Lost, NotSent
from lambda_dispatch.scaler.verdict import FAILED, Exit, exit_of
from lambda_dispatch.telemetry import log
from lambda_dispatch_core.board import board as b

BUDDY_DELAY = 0.1  # s after the invoke whose place it prepares
# What an instance gets that is to stay when idle: longer than any lives, so until its deadline or our go-away.
STAY_MS = int(LIFETIME * 1000)


class Api(Protocol):
    async def invoke(self, function: FunctionName, payload: bytes) -> Reply: ...


class Actor:
    """Invokes, and what follows from their ends. `news` is called after each end, with the board already changed."""

    def __init__(
        self,
        api: Api,
        board: b.Board,
        call: dict[str, Any],
        limit: int,
        clock: Callable[[], int],
        news: Callable[[], None],
    ) -> None:
        self.invokes = 0
        self.ended = 0
        self.failed = 0
        self.throttled = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._api = api
        self._board = board
        self._call = call  # what every payload has: DispatcherUrl, NumberOfChannels, hints
        self._limit = limit
        self._clock = clock
        self._news = news

    def start(self, fleet: Fleet, order: Order) -> bool:
        """One more instance; its slot is on the board before anything is sent. False: the board is full."""
        assert fleet.function is not None
        now = self._clock()
        id = uuid.uuid4()
        place = self._board.allocate_instance(fleet.pool, id.bytes, self._limit, now, now + int(LIFETIME * NS))
        if place is None:
            return False
        run = fleet.began(*place, id.bytes, now / NS, order.stays, order.spare)
        secret = secrets.token_bytes(b.SECRET_SIZE)
        self._board.set_secret(run.slot, secret)
        self._spawn(self._follow(fleet, run, fleet.function, str(id), secret))
        if order.buddy:
            self._spawn(self._warm(fleet, fleet.function, f"{id}-initonly"))
        return True

    def end(self, fleet: Fleet, run: Run, ended: Exit | None) -> None:
        """The instance is over: no search finds it, and the workers drop what they have of it."""
        now = self._clock()
        seen = self._board.instance(run.slot)
        end = fleet.end(run, seen, ended, now / NS)
        if end is None:
            return
        self._board.close_instance(run.slot, run.generation, now)
        self._board.record_life(run.slot, now, ended.number if ended is not None else 0, run.asked)
        if end.ends_idle:
            log.warning(
                "IdleGraceMs ignored",
                pool=fleet.label,
                effect="instances exit when idle; MinInstances keeps their environments warm by an invoke a minute",
            )
        if end.short:
            log.error(
                "function timeout too short",
                pool=fleet.label,
                lived_s=round(end.lived, 1),
                fix="set the function's timeout to 900 s: an instance ends 15 s before it",
                effect="starts are limited to about one a second",
            )
        if ended is not None and end.outcome is not None:
            level = log.WARNING if end.outcome.failed else log.DEBUG if run.spare else log.INFO
            particulars = {"reason": ended.name, "detail": ended.detail, "verdict": end.outcome.value}
        else:
            level, particulars = log.INFO, {"reason": "no_channel", "detail": "", "verdict": "none"}
        log.write(
            level,
            "instance ended",
            pool=fleet.label,
            instance=run.id.hex()[:8],
            opened=end.opened,
            seconds=round(end.lived, 3),
            requests=seen.requests,
            **{name: value for name, value in particulars.items() if value},
        )
        self._news()

    async def _follow(self, fleet: Fleet, run: Run, function: FunctionName, id: str, secret: bytes) -> None:
        hints: dict[str, Any] = {"Secret": base64.urlsafe_b64encode(secret).decode().rstrip("=")}
        if run.stays:
            hints["IdleGraceMs"] = STAY_MS
        ended = await self._invoke(fleet, function, id, hints)
        if ended.name == "Lost" and self._board.instance(run.slot).opened:
            # The function goes on without us; what it does shows in its channels.
            run.held = False
            log.warning("invoke connection lost", pool=fleet.label, instance=id[:8], error=ended.detail)
            return
        self.end(fleet, run, ended)

    async def _warm(self, fleet: Fleet, function: FunctionName, id: str) -> None:
        await asyncio.sleep(BUDDY_DELAY)
        fleet.ledger.invoked(self._clock() / NS)
        ended = await self._invoke(fleet, function, id, {"InitOnly": True, "NumberOfChannels": 0})
        log.debug("init-only invoke ended", pool=fleet.label, instance=id[:8], reason=ended.name)

    async def _invoke(self, fleet: Fleet, function: FunctionName, id: str, more: dict[str, Any]) -> Exit:
        payload = {"PoolId": fleet.label, "Id": id, **self._call, "SentTime": _now(), "InitOnly": False, **more}
        self.invokes += 1
        try:
            ended = exit_of(await self._api.invoke(function, json.dumps(payload).encode()))
        except NotSent as error:
            ended = Exit("NotSent", detail=str(error))
        except Lost as error:
            ended = Exit("Lost", detail=str(error))
        self.ended += 1
        fleet.exits[ended.number - 1] += 1
        self.failed += ended.name in FAILED
        self.throttled += ended.name == "Throttled"
        return ended

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # a bug: the loop's handler ends the process, and its successor adopts what there is


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
