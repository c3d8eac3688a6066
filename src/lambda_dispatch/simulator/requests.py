"""The requests of one run: when each arrives, and what it takes. Every policy gets the same ones."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

NS = 1_000_000_000
MONDAY = 1_704_067_200.0  # s since 1970: 1 January 2024, 00:00 UTC, when requests begin that have no date
DATED = 1e9  # s: a larger time of a trace is one since 1970


@dataclass(frozen=True, slots=True)
class Requests:
    arrive: "array[int]"  # ns since the beginning, ascending
    takes: "array[int]"  # ns of each, alone on a whole CPU
    clients: int = 0  # who send the next request when one is over; 0: requests arrive as given
    until: float = 0.0  # s: clients send nothing afterwards
    begins: float = MONDAY  # s since 1970, of time 0: for schedules

    def __len__(self) -> int:
        return len(self.arrive)

    @property
    def work(self) -> float:
        """s, of all."""
        return sum(self.takes) / NS

    @property
    def span(self) -> float:
        """s from the beginning to the last arrival."""
        return self.until if self.clients else self.arrive[-1] / NS if self.arrive else 0.0


def in_order(pairs: Iterable[tuple[float, float]]) -> Requests:
    """Of (arrival, service time) in seconds, in any order."""
    ordered = sorted((int(at * NS), int(takes * NS)) for at, takes in pairs)
    return Requests(array("q", (at for at, _ in ordered)), array("q", (takes for _, takes in ordered)))


def of_clients(clients: int, seconds: float, takes: float) -> Requests:
    """Each client begins at once and sends a request whenever its last one is over, for `seconds`."""
    most = clients * (int(seconds / takes) + 2)
    return Requests(array("q", [0] * most), array("q", [int(takes * NS)] * most), clients, seconds)
