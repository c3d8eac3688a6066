"""Overrides of operators, in words for those who look, and as every process of the router takes its part of them."""

from typing import Any

from lambda_dispatch.telemetry import log
from lambda_dispatch_core.board import board as b

_LEVELS = {number: name for name, number in log.LEVELS.items()}


def says(it: b.Override) -> str:
    """What it changes."""
    if it.kind == b.OVERRIDE_LIMITS:
        bounds = (("min", it.first), ("max", it.second))
        return ", ".join(f"{name} {value}" for name, value in bounds if value >= 0)
    if it.kind == b.OVERRIDE_PAUSE:
        return f"scaling paused at {it.first}"
    if it.kind == b.OVERRIDE_RECYCLE:
        return f"recycling, {it.first} at once"
    if it.kind == b.OVERRIDE_DRAIN:
        return "router draining"
    if it.kind == b.OVERRIDE_LOG_LEVEL:
        return f"log level {_LEVELS.get(it.first, '?')}"
    return b.OVERRIDE_KINDS[it.kind]


def shown_override(it: b.Override, board: b.Board, now: int) -> dict[str, Any]:
    epoch = board.created_wall - board.created
    return {
        "kind": b.OVERRIDE_KINDS[it.kind],
        "function": "" if it.pool == board.pools else board.pool_name(it.pool).decode("utf-8", "replace"),
        "says": says(it),
        "first": it.first,
        "second": it.second,
        "at_ms": (it.at + epoch) // 1_000_000,
        "until_ms": (it.until + epoch) // 1_000_000 if it.until else None,
        "left": round((it.until - now) / 1e9, 1) if it.until else None,
        "who": it.who,
        "reason": it.reason,
    }


def list_in_force(board: b.Board, now: int) -> list[dict[str, Any]]:
    if not board.commands:
        return []
    pools = (*(it.pool for it in board.list_pools()), board.pools)
    return [shown_override(it, board, now) for pool in pools for it in board.list_overrides(pool) if it.in_force(now)]


class RouterOverrides:
    """What operators say to every process: how much it logs, and whether the router wants clients."""

    def __init__(self, board: b.Board, log_level: str) -> None:
        self.draining = False
        self._board = board
        self._log_level = log.LEVELS[log_level]
        self._commanded: int | None = None  # the log level that a command has set
        self._commands = 0
        self._until = 0  # when one of them ends by itself; 0: none does

    def configure(self, log_level: str) -> None:
        """The configuration has changed; a level that a command has set stays until its end."""
        self._log_level = log.LEVELS[log_level]
        self._set_level()

    def look(self, now: int) -> None:
        """Cheap as long as nothing has changed: called on every tick, and by health checks."""
        commands = self._board.commands
        if commands == self._commands and not (self._until and now >= self._until):
            return
        self._commands = commands
        found = [it for it in self._board.list_overrides(self._board.pools) if it.in_force(now)]
        self._until = min((it.until for it in found if it.until), default=0)
        self.draining = any(it.kind == b.OVERRIDE_DRAIN for it in found)
        self._commanded = next((it.first for it in found if it.kind == b.OVERRIDE_LOG_LEVEL), None)
        self._set_level()

    def _set_level(self) -> None:
        log.set_level(self._log_level if self._commanded is None else self._commanded)
