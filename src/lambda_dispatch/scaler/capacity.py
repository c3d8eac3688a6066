"""How many instances a demand needs: the original's arithmetic, number for number (in floating point, as there)."""

import math

HEAD_ROOM = 1.2  # a fifth more than is needed right now
SHORTEST_MS = 2.0  # a mean answer time below this says nothing about an instance's limit


def target_per_instance(max_concurrent: int, multiplier: int) -> int:
    return math.ceil(max_concurrent / multiplier)


def simple(max_concurrent: int, multiplier: int, pending: int, running: int) -> int:
    """Running requests at the target per instance; half of the pending ones at the full limit."""
    pending, running = max(0, pending), max(0, running)
    if pending == 0 and running == 0:
        return 0
    need = running / target_per_instance(max_concurrent, multiplier) + pending / max_concurrent / 2
    return math.ceil(max(need, need * HEAD_ROOM))


def ewma(max_concurrent: int, multiplier: int, per_second: float, mean_ms: float, current: int | None = None) -> int:
    """From the rate of requests and their mean duration. One below the current count is not worth a change."""
    if per_second <= 0:
        return 0
    per_instance = 1000 / max(SHORTEST_MS, mean_ms) * target_per_instance(max_concurrent, multiplier)
    desired = math.ceil(per_second / per_instance * HEAD_ROOM)
    return current if current is not None and desired == current - 1 else desired


def limit_step(proposed: int, current: int, max_step: int, out_ratio: float = 0.33, in_ratio: float = 0.33) -> int:
    """One step towards `proposed`: at most max_step or the ratio of today's, whichever is more. 0 always passes."""
    if proposed <= 0:
        return 0
    if proposed > current:
        return min(proposed, current + max(max_step, math.ceil(current * out_ratio)))
    return max(proposed, current - max(max_step, math.ceil(current * in_ratio)))
