"""Instances from their invoke to their end: those of the ring of lives, and those that live now."""

from typing import Any

from lambda_dispatch.scaler.verdict import EXIT_NAMES
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

NEVER_TOLD = "NoChannel"  # how it ended is unknown: it was gone


def reason(number: int) -> str:
    return EXIT_NAMES[number - 1] if 0 < number <= len(EXIT_NAMES) else NEVER_TOLD


def document(board: Board, since: int, pool: str | None, limit: int, living: bool) -> dict[str, Any]:
    """Newest first, the living before them. `next` is the number to ask for the next time."""
    epoch = board.created_wall - board.created
    names = {each.pool: each.name.decode(errors="replace") for each in board.list_pools()}

    def ms(at: int) -> int | None:
        return (at + epoch) // 1_000_000 if at else None

    ended = board.list_lives(since)
    found = [
        {
            "number": None,
            "id": it.id.hex()[:8],
            "function": names.get(it.pool, "?"),
            "asked_ms": ms(it.created),
            "opened_ms": ms(it.opened),
            "ended_ms": None,
            "reason": None,
            "let_go": it.state == b.INSTANCE_DRAINING,
            "requests": it.requests,
            "busy_ms": it.busy_ns // 1_000_000,
        }
        for it in (sorted(board.list_instances(), key=lambda it: -it.created) if living else ())
        if it.state != b.INSTANCE_CLOSED
    ]
    found += [
        {
            "number": it.number,
            "id": it.id.hex(),
            "function": names.get(it.pool, "?"),
            "asked_ms": ms(it.asked),
            "opened_ms": ms(it.opened),
            "ended_ms": ms(it.ended),
            "reason": reason(it.reason),
            "let_go": it.let_go,
            "requests": it.requests,
            "busy_ms": it.busy_ns // 1_000_000,
        }
        for it in reversed(ended)
    ]
    chosen = [it for it in found if pool is None or it["function"] == pool]
    return {"next": ended[-1].number if ended else since, "lives": chosen[:limit]}
