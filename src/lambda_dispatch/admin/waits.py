"""How long requests waited for a slot, over time: how many of each STEP fell between which bounds."""

from collections import deque
from typing import Any

from lambda_dispatch.telemetry.view import View
from lambda_dispatch_core.board import board as b

STEP = 10  # s
KEPT = 90  # steps: a quarter of an hour
# Upper bounds in ms, one per power of two of the board's histogram; what is longer than the last is a class of its own.
LEAST, MOST = -10, 7  # 2^n s
BOUNDS = tuple(round(2.0**n * 1000, 3) for n in range(LEAST, MOST + 1))


def _class(bound: float | None) -> int:
    """Which class a bucket of the board belongs to, by its upper bound in seconds."""
    if bound is None:
        return len(BOUNDS)
    return next((at for at, most in enumerate(BOUNDS) if bound * 1000 <= most * 1.0001), len(BOUNDS))


CLASSES = tuple(_class(bound) for bound in b.bucket_bounds())


class Waits:
    def __init__(self, first: View) -> None:
        self._last = first
        self._steps: deque[tuple[int, tuple[int, ...]]] = deque(maxlen=KEPT)

    def feed(self, view: View) -> None:
        if view.taken_ms - self._last.taken_ms < STEP * 1000 - 500:
            return
        cells = [0] * (len(BOUNDS) + 1)
        for place, after, before in zip(CLASSES, view.wait, self._last.wait, strict=True):
            cells[place] += max(0, after - before)
        self._steps.append((view.taken_ms, tuple(cells)))
        self._last = view

    def document(self) -> dict[str, Any]:
        """`counts[step][class]`; a class is up to and including its bound, the last one beyond all."""
        return {
            "step": STEP,
            "bounds_ms": BOUNDS,
            "times_ms": [at for at, _ in self._steps],
            "counts": [cells for _, cells in self._steps],
        }
