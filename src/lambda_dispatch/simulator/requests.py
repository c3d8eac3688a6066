"""The requests of one run: when each arrives, and what it takes. Every policy gets the same ones."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Requests:
    arrive: "array[int]"  # ns since the beginning, ascending
    takes: "array[int]"  # ns of each, alone on a whole CPU

    def __len__(self) -> int:
        return len(self.arrive)

    @property
    def work(self) -> float:
        """s, of all."""
        return sum(self.takes) / NS

    @property
    def span(self) -> float:
        """s from the beginning to the last arrival."""
        return self.arrive[-1] / NS if self.arrive else 0.0


def in_order(pairs: Iterable[tuple[float, float]]) -> Requests:
    """Of (arrival, service time) in seconds, in any order."""
    ordered = sorted((int(at * NS), int(takes * NS)) for at, takes in pairs)
    return Requests(array("q", (at for at, _ in ordered)), array("q", (takes for _, takes in ordered)))
