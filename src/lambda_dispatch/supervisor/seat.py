"""A seat is what must always be filled: a set of listening sockets by a worker, or the scaler's place.

It remembers how its processes ended and says when the next may be started. Time is an argument.
"""

from dataclasses import dataclass

from lambda_dispatch.supervisor.child import Child

SECOND = 1_000_000_000

# Who lived this long after being ready did not die of being started.
LIVED = 2 * SECOND
# Waits between starts while they keep dying. The first is none: one process killed must be back within a second.
WAITS = tuple(int(wait * SECOND) for wait in (0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5))
# Starts in a row that may fail before the router as a whole gives up, if this seat was never filled.
BOOT_TRIES = 5


@dataclass(slots=True, eq=False)
class Seat:
    role: str
    index: int
    child: Child | None = None
    successor: Child | None = None  # started beside `child`, to take over when it is ready
    start_at: int = 0  # not before; monotonic ns
    failures: int = 0  # quick deaths in a row
    was_filled: bool = False  # somebody was ready here once

    @property
    def children(self) -> list[Child]:
        return [child for child in (self.child, self.successor) if child is not None]

    def filled(self) -> None:
        self.was_filled = True

    def ended(self, child: Child, now: int) -> None:
        """The process is gone; when it was the one in the seat, `start_at` says when the next may come."""
        if child is self.successor:
            self.successor = None
            return
        self.child = None
        if child.ready and now - child.ready_at >= LIVED:
            self.failures = 0
        self.start_at = now + WAITS[min(self.failures, len(WAITS) - 1)]
        self.failures += 1

    @property
    def hopeless(self) -> bool:
        return not self.was_filled and self.failures >= BOOT_TRIES
