"""What one policy made of one load: the figures of a row of the table."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_dispatch.simulator.requests import NS

WAITED_NS = 1_000_000  # less is no wait: a request is sent in the turn in which it came


@dataclass(frozen=True, slots=True)
class Outcome:
    policy: str
    requests: int
    served: int
    refused: int  # throttled, queue full
    expired: int  # waited too long
    cut: int  # their instance died
    waited: float  # share of the served that waited
    wait_p50: float  # ms
    wait_p99: float
    wait_max: float
    time_p99: float  # ms from arrival to the last byte
    environment_seconds: float
    invokes: int
    cold_starts: int
    most: int  # environments at once, as sampled
    utilisation: float  # of the slots that were paid for
    samples: tuple[tuple[float, int], ...] = ()  # s, environments
    slowest: tuple[tuple[float, float], ...] = ()  # s, longest wait in ms of what arrived then


def quantile(ordered: Sequence[int], share: float) -> float:
    """Of ascending ns, in ms: the smallest value that as many are not above."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1e6 if ordered else 0.0


def spread(values: "array[int]") -> tuple[float, float, float, float]:
    """Share above WAITED_NS; p50, p99 and the most in ms. Most waits are 0, which need no sorting."""
    long = sorted(value for value in values if value > 0)
    zeros = len(values) - len(long)

    def at(share: float) -> float:
        place = max(0, math.ceil(share * len(values)) - 1) - zeros
        return long[place] / 1e6 if place >= 0 and long else 0.0

    waited = sum(value >= WAITED_NS for value in long)
    return waited / len(values) if values else 0.0, at(0.5), at(0.99), long[-1] / 1e6 if long else 0.0


def longest_by_time(arrive: "array[int]", waits: "array[int]", step: float) -> tuple[tuple[float, float], ...]:
    """Of the requests that arrived in each step, the longest wait in ms. Only where every request was served."""
    most: dict[int, int] = {}
    width = int(step * NS)
    if width <= 0 or len(arrive) != len(waits):
        return ()
    for at, wait in zip(arrive, waits, strict=True):
        bucket = at // width
        if wait > most.get(bucket, -1):
            most[bucket] = wait
    return tuple((bucket * step, wait / 1e6) for bucket, wait in sorted(most.items()))
