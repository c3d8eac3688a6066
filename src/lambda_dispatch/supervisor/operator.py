"""What operators may tell the running router, one command at a time: checked, carried out, audited, answered.

A command is a JSON object: `op`, what that op needs, `reason` and `who`. OPS lists them; an unknown key is refused.
Everything is idempotent. What is to last stands as an override on the board (docs/shared-memory.md) and survives every
process but the supervisor; the scaler and the workers look there. A refused command changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.overrides import shown_override
from lambda_dispatch.telemetry.view import BREAKER_STATES
from lambda_dispatch_core.board import board as b

SECOND = 1_000_000_000
MAX_TTL = 30 * 86400.0  # s
LOG_LEVEL_TTL = 900.0  # s: a debug log that somebody forgot would fill a disk
HAND_OVER = 10 * SECOND  # what an instance that is drained gets to serve as a last resort until it is replaced
ID_DIGITS = 8  # of an instance's id; what status and the page show
OURSELVES = "lambda-dispatch"


class Refused(Exception):
    """Nothing was changed; `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Done(NamedTuple):
    changed: bool
    pool: int  # the number of pools: the router itself
    number: int = 0  # of the command; the answer waits until the scaler has taken it up. 0: it need not
    more: Mapping[str, Any] = {}  # to be answered too


@dataclass(frozen=True, slots=True)
class Pool:
    number: int
    generation: int
    function: str
    min_instances: int  # as configured
    max_instances: int


class Operator:
    def __init__(
        self,
        board: b.Board,
        config: Callable[[], RouterConfig],
        ring: Callable[[], None],
        reload: Callable[[str], dict[str, Any]],
    ) -> None:
        self._board = board
        self._config = config
        self._ring = ring  # every process looks at the board
        self._reload = reload
        self._sweep_at = 0

    # commands ---------------------------------------------------------------------------------------------------------

    def carry_out(self, command: Mapping[str, Any], now: int) -> Done:
        """Raises Refused."""
        op = command.get("op")
        found = OPS.get(op) if isinstance(op, str) else None
        if found is None:
            raise Refused(404, f"there is no op {str(op)[:40]!r}; {', '.join(OPS)} are there")
        for name in command:
            if name not in (*found.needs, "op", "who", "reason"):
                known = ", ".join((*found.needs, "reason", "who"))
                raise Refused(400, f"{op} knows no {str(name)[:40]!r}; it takes {known}")
        who = text(command, "who", b.OVERRIDE_WHO, "somebody")
        why = text(command, "reason", b.OVERRIDE_REASON, "")
        if not why and found.asks_why:
            raise Refused(400, f"{op} needs a reason: it is shown to others for as long as it lasts")
        done: Done = found.act(self, command, now, who, why or "no reason given")
        if op != "state":
            told = {name: command[name] for name in found.needs if name in command}
            log.info("command carried out", op=op, **told, who=who, reason=why, changed=done.changed)
            self._ring()
        return done

    def state(self, done: Done, now: int) -> dict[str, Any]:
        """What an answer shows of what the command was about."""
        board = self._board
        found = [shown_override(it, board, now) for it in board.list_overrides(done.pool) if it.in_force(now)]
        if done.pool == board.pools:
            level = board.override(done.pool, b.OVERRIDE_LOG_LEVEL)
            in_force = level is not None and level.in_force(now)
            name = NAMES.get(level.first, "?") if level is not None and in_force else self._config().log_level
            draining = any(it["kind"] == "drain" for it in found)
            return {"router": {"draining": draining, "log_level": name, "overrides": found}}
        pool = board.pool(done.pool)
        return {
            "pool": {
                "function": pool.name.decode("utf-8", "replace"),
                "desired": pool.desired,
                "starting": pool.starting,
                "open": pool.open,
                "draining": pool.draining,
                "min_instances": pool.min_instances,
                "max_instances": pool.max_instances,
                "breaker": BREAKER_STATES[min(pool.breaker, len(BREAKER_STATES) - 1)],
                "overrides": found,
            }
        }

    def taken(self, done: Done) -> bool:
        return not done.number or self._board.pool(done.pool).commands_taken >= done.number

    def _limits(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        pool = self._pool(command)
        if command.get("clear") is True:
            if any(name in command for name in ("min", "max", "ttl")):
                raise Refused(400, "clear goes with none of min, max and ttl")
            return self._end(pool.number, b.OVERRIDE_LIMITS, now, who, why)
        low = whole(command, "min", 0, self._board.instances)
        high = whole(command, "max", 0, self._board.instances)
        if low is None and high is None:
            raise Refused(400, "limits needs min, max or both, or clear")
        least = pool.min_instances if low is None else low
        most = pool.max_instances if high is None else high
        if least > most:
            said = "min" if low is not None else "MinInstances"
            other = "max" if high is not None else "MaxInstances"
            raise Refused(400, f"{said} {least} is more than {other} {most}; set both")
        return self._set(pool.number, b.OVERRIDE_LIMITS, now, command, who, why, first=low, second=high)

    def _pause(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        pool = self._pool(command)
        before = self._in_force(pool.number, b.OVERRIDE_PAUSE, now)
        count = self._board.pool(pool.number).desired if before is None else before.first
        return self._set(pool.number, b.OVERRIDE_PAUSE, now, command, who, why, first=count)

    def _resume(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        return self._end(self._pool(command).number, b.OVERRIDE_PAUSE, now, who, why)

    def _recycle(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        pool = self._pool(command)
        if command.get("stop") is True:
            return self._end(pool.number, b.OVERRIDE_RECYCLE, now, who, why)
        missing = whole(command, "max_unavailable", 1, self._board.instances) or 1
        before = self._in_force(pool.number, b.OVERRIDE_RECYCLE, now)
        # Asked again, it goes on with those that were there at first.
        at = now if before is None else before.at
        return self._set(pool.number, b.OVERRIDE_RECYCLE, now, command, who, why, first=missing, at=at)

    def _breaker(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        pool = self._pool(command)
        seen = self._board.pool(pool.number)
        changed = bool(seen.breaker or seen.backoff_until > now)
        number = self._board.set_override(pool.number, b.OVERRIDE_BREAKER, at=now, until=now, who=who, reason=why)
        return Done(changed, pool.number, number)

    def _drain_instance(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        id = command.get("instance")
        if not isinstance(id, str) or not ID_DIGITS <= len(id) <= 32 or not set(id) <= set("0123456789abcdef"):
            raise Refused(400, f"instance is {str(id)[:40]!r}; it must be {ID_DIGITS} to 32 hex digits of its id")
        found = [it for it in self._board.list_instances() if it.id.hex().startswith(id)]
        alive = [it for it in found if it.state in (b.INSTANCE_STARTING, b.INSTANCE_OPEN, b.INSTANCE_DRAINING)]
        if not alive:
            raise Refused(404, f"no instance {id} is starting, open or draining")
        if len(alive) > 1:
            raise Refused(409, f"{len(alive)} instances begin with {id}; give more digits")
        it = alive[0]
        if not self._board.begin_drain(it.slot, it.generation, now + HAND_OVER):
            return Done(False, it.pool)
        number = self._board.set_override(
            it.pool, b.OVERRIDE_INSTANCE, at=now, until=now, first=it.slot, who=who, reason=why
        )
        return Done(True, it.pool, number)

    def _drain(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        return self._set(self._board.pools, b.OVERRIDE_DRAIN, now, command, who, why)

    def _undrain(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        return self._end(self._board.pools, b.OVERRIDE_DRAIN, now, who, why)

    def _log_level(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        level = command.get("level")
        if level == "default":
            return self._end(self._board.pools, b.OVERRIDE_LOG_LEVEL, now, who, why)
        if not isinstance(level, str) or level not in log.LEVELS:
            raise Refused(400, f"level is {str(level)[:40]!r}; it must be {', '.join(log.LEVELS)} or default")
        timed = {"ttl": LOG_LEVEL_TTL, **command}
        return self._set(self._board.pools, b.OVERRIDE_LOG_LEVEL, now, timed, who, why, first=log.LEVELS[level])

    def _reload_now(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        found = self._reload("command")
        if not found["reloaded"]:
            raise Refused(409, f"nothing was reloaded, the old configuration stays: {'; '.join(found['problems'])}")
        return Done(bool(found["live"] or found["certificate"]), self._board.pools, more=found)

    def _state(self, command: Mapping[str, Any], now: int, who: str, why: str) -> Done:
        return Done(False, self._pool(command).number if "pool" in command else self._board.pools)

    # overrides --------------------------------------------------------------------------------------------------------

    def _pool(self, command: Mapping[str, Any]) -> Pool:
        name = command.get("pool", "default")
        if not isinstance(name, str):
            raise Refused(400, f"pool is {str(name)[:40]!r}; it must be the name of a function")
        config = self._config()
        pools = self._board.list_pools()
        for it in pools:
            own = it.name.decode("utf-8", "replace")
            if name == own or (it.pool == 0 and name == "default"):
                return Pool(it.pool, it.generation, own, 0 if it.pool else config.min_instances, config.max_instances)
        known = ", ".join(it.name.decode("utf-8", "replace") for it in pools[:20])
        raise Refused(404, f"there is no pool {name[:80]!r}; there are {known}")

    def _in_force(self, pool: int, kind: int, now: int) -> b.Override | None:
        return next((it for it in self._board.list_overrides(pool) if it.kind == kind and it.in_force(now)), None)

    def _set(
        self,
        pool: int,
        kind: int,
        now: int,
        command: Mapping[str, Any],
        who: str,
        why: str,
        first: int | None = None,
        second: int | None = None,
        at: int | None = None,
    ) -> Done:
        ttl = seconds(command, "ttl")
        before = self._in_force(pool, kind, now)
        numbers = (-1 if first is None else first, -1 if second is None else second)
        number = self._board.set_override(
            pool,
            kind,
            at=now if at is None else at,
            until=now + int(ttl * SECOND) if ttl else 0,
            first=numbers[0],
            second=numbers[1],
            who=who,
            reason=why,
        )
        changed = before is None or (before.first, before.second) != numbers
        return Done(changed, pool, number if pool < self._board.pools else 0)

    def _end(self, pool: int, kind: int, now: int, who: str, why: str) -> Done:
        if self._in_force(pool, kind, now) is None:
            return Done(False, pool)
        number = self._board.end_override(pool, kind, now, who=who, reason=why)
        return Done(True, pool, number if pool < self._board.pools else 0)

    # time -------------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """When step() has something to do; None: not before a command."""
        return self._sweep_at or None

    def step(self, now: int) -> None:
        """Ends what is over: its time has come, or everything that was to be replaced is."""
        if self._board.commands and now >= self._sweep_at:
            self._sweep(now)

    def changed(self) -> None:
        """There may be something to end sooner."""
        self._sweep_at = 1  # long ago

    def _sweep(self, now: int) -> None:
        board = self._board
        nearest = 0
        for pool in (*(it.pool for it in board.list_pools()), board.pools):
            for it in board.list_overrides(pool):
                if it.ended or it.kind in (b.OVERRIDE_BREAKER, b.OVERRIDE_INSTANCE):
                    continue
                if it.until and now >= it.until:
                    self._over(it, now, "its time was over")
                elif it.kind == b.OVERRIDE_RECYCLE and not self._to_replace(it):
                    self._over(it, now, "every instance was replaced")
                else:
                    at = now + SECOND if it.kind == b.OVERRIDE_RECYCLE else it.until
                    nearest = min(nearest or at, at or nearest)
        self._sweep_at = nearest or now + 3600 * SECOND

    def _to_replace(self, it: b.Override) -> bool:
        living = (b.INSTANCE_STARTING, b.INSTANCE_OPEN)
        return any(each.state in living and each.created < it.at for each in self._board.list_instances(it.pool))

    def _over(self, it: b.Override, now: int, why: str) -> None:
        self._board.end_override(it.pool, it.kind, now, who=OURSELVES, reason=why)
        function = "" if it.pool == self._board.pools else self._board.pool_name(it.pool).decode("utf-8", "replace")
        log.info("override ended", kind=b.OVERRIDE_KINDS[it.kind], pool=function, who=it.who, reason=why)
        self._ring()


NAMES = {number: name for name, number in log.LEVELS.items()}


class Op(NamedTuple):
    act: Callable[[Operator, Mapping[str, Any], int, str, str], Done]
    needs: tuple[str, ...]
    asks_why: bool


OPS = {
    "limits": Op(Operator._limits, ("pool", "min", "max", "ttl", "clear"), True),
    "pause": Op(Operator._pause, ("pool", "ttl"), True),
    "resume": Op(Operator._resume, ("pool",), False),
    "recycle": Op(Operator._recycle, ("pool", "max_unavailable", "stop"), True),
    "breaker": Op(Operator._breaker, ("pool",), False),
    "drain-instance": Op(Operator._drain_instance, ("instance",), False),
    "drain": Op(Operator._drain, ("ttl",), True),
    "undrain": Op(Operator._undrain, (), False),
    "log-level": Op(Operator._log_level, ("level", "ttl"), False),
    "reload": Op(Operator._reload_now, (), False),
    "state": Op(Operator._state, ("pool",), False),
}


def text(command: Mapping[str, Any], name: str, most: int, default: str) -> str:
    value = command.get(name, default)
    if not isinstance(value, str) or not value.isprintable() or len(value.encode("utf-8", "replace")) > most:
        raise Refused(400, f"{name} is {str(value)[:40]!r}; it must be a printable text of at most {most} bytes")
    return value.strip()


def whole(command: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = command.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused(400, f"{name} is {str(value)[:40]!r}; it must be a whole number from {low} to {high}")
    return value


def seconds(command: Mapping[str, Any], name: str) -> float | None:
    value = command.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_TTL:
        raise Refused(400, f"{name} is {str(value)[:40]!r}; it must be 1 to {MAX_TTL:.0f} seconds")
    return float(value)
