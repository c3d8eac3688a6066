"""The scaler's decisions in words: what changed, why, and what bounded it. Read from the ring on the board."""

import math
from typing import Any

from lambda_dispatch.scaler.policies import policy_numbered
from lambda_dispatch.scaler.record import SEEN
from lambda_dispatch.telemetry.view import BREAKER_STATES
from lambda_dispatch_core.board.board import OVERRIDE_KINDS, OVERRIDE_LIMITS, Board, Decision

# By kind of override, as OVERRIDE_KINDS has them.
COMMANDS = (
    "limits changed",
    "pause changed",
    "recycle changed",
    "breaker reset",
    "instance drained",
    "router drain changed",
    "log level changed",
)
SCHEDULED = SEEN.index("scheduled")
assert len(COMMANDS) == len(OVERRIDE_KINDS)


def reason(it: Decision) -> str:
    """Why the number of instances changed, or what else was done."""
    if it.command:
        return f"{COMMANDS[it.command - 1]} by {it.who}: {it.why}"
    demand = f"{it.pending} waiting and {it.running} running ask for {it.proposed}"
    if it.desired > it.before:
        return f"scale out: {demand}"
    if it.desired < it.before:
        return f"scale in: {demand}"
    if it.started:
        return f"start missing instances: {it.starting + it.open} of {it.desired} there"
    if it.closed:
        return f"close surplus: {it.open} open, {it.desired} desired"
    if it.recycled:
        return f"recycle: {it.recycled} told to drain, replaced first"
    if it.released:
        return "let draining instances go: their replacements are open"
    return "starts held back" if it.wanted > it.started else "starts no longer held back"


def bounds(it: Decision) -> list[str]:
    """What kept the decision from going further."""
    found = []
    by_hand = it.overrides >> OVERRIDE_LIMITS & 1
    if it.proposed >= it.max_instances:
        found.append(f"{'maximum by override' if by_hand else 'MaxInstances'} {it.max_instances}")
    if it.min_instances and it.proposed <= it.min_instances:
        scheduled = len(it.inputs) > SCHEDULED and it.inputs[SCHEDULED]
        whose = "MinInstancesSchedule" if scheduled else "minimum by override" if by_hand else "MinInstances"
        found.append(f"{whose} {it.min_instances}")
    if it.desired > it.before and it.desired < it.proposed:
        found.append("step size")
    if it.held:
        found.append(it.held)
    return found


def known(numbers: tuple[float, ...]) -> list[float | None]:
    """JSON has no word but null for a number that is not known, nor for the time since requests that never came."""
    return [number if math.isfinite(number) else None for number in numbers]


def document(board: Board, since: int, pool: str | None, limit: int) -> dict[str, Any]:
    """Newest first. `next` is the number to ask for the next time."""
    epoch = board.created_wall - board.created
    names = {each.pool: each.name.decode(errors="replace") for each in board.list_pools()}
    decisions = board.list_decisions(since)
    chosen = [it for it in decisions if pool is None or names.get(it.pool) == pool]
    return {
        "next": decisions[-1].number if decisions else since,
        "decisions": [
            {
                **it._asdict(),
                "at_ms": (it.at + epoch) // 1_000_000,
                "function": names.get(it.pool, "?"),
                "policy": policy_numbered(it.policy).name,
                "inputs": dict(zip(SEEN, known(it.inputs), strict=False)),
                "memory": known(it.inputs[len(SEEN) :]),
                "breaker": BREAKER_STATES[min(it.breaker, len(BREAKER_STATES) - 1)],
                "reason": reason(it),
                "bounds": bounds(it),
            }
            for it in reversed(chosen[-limit:])
        ],
    }
