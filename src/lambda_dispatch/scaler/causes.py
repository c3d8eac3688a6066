"""Why decisions were what they were, in the words by which they are counted: on the board, and in metrics."""

from lambda_dispatch.scaler.ledger import COST, INVOKES
from lambda_dispatch.scaler.record import Record

FULL = "the board is full"
PAUSED = "scaling is paused"
# Why starts were held back, as decisions, logs and the page say it; "other" is what a later version adds.
HELD = (
    "back-off",
    "breaker half-open",
    "function timeout too short",
    "rate of starts",
    FULL,
    PAUSED,
    COST,
    INVOKES,
    "other",
)
CHANGED = ("demand", "minimum", "maximum", "command")
# A cause's place is what stands on the board (PoolSlot.decisions).
CAUSES = tuple(
    [(direction, reason) for direction in ("up", "down") for reason in CHANGED] + [("held", reason) for reason in HELD]
)
_PLACES = {cause: place for place, cause in enumerate(CAUSES)}


def places(record: Record) -> list[int]:
    """What a decision counts as."""
    least, most = record.seen("min_instances"), record.seen("max_instances")
    found = []
    if record.desired != record.before:
        if record.command:
            reason = "command"
        elif record.desired >= most:
            reason = "maximum"
        else:
            reason = "minimum" if 0 < record.desired <= least else "demand"
        found.append(_PLACES["up" if record.desired > record.before else "down", reason])
    if record.held:
        found.append(_PLACES["held", record.held if record.held in HELD else "other"])
    return found
