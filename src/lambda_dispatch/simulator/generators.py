"""Loads of our own making: arrivals by chance (Poisson) at a rate that changes with time.

Each load has a rate, a length and a service time of its own, so that its name alone is enough; all three can be given.
"""

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from lambda_dispatch.simulator.distributions import Distribution
from lambda_dispatch.simulator.requests import NS, Requests, in_order

Rate = Callable[[float, float, float], float]  # (t, rate, seconds) -> requests per second at t, at most `rate`


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    says: str
    rate: float  # requests per second at the busiest
    seconds: float
    service: Distribution
    shape: Rate | None  # None: volleys
    share: float = 0.0  # of the service time on the CPU
    cpus: float = 1.0  # of an environment


def _steady(t: float, rate: float, seconds: float) -> float:
    return rate


def _step(t: float, rate: float, seconds: float) -> float:
    return rate if seconds / 6 <= t < seconds * 5 / 6 else rate / 10


def _burst(t: float, rate: float, seconds: float) -> float:
    return rate if t % 60 >= 50 else rate / 10


def _rare(t: float, rate: float, seconds: float) -> float:
    return rate if 60 <= t % 600 < 70 else rate / 100


def _diurnal(t: float, rate: float, seconds: float) -> float:
    return rate * (0.55 - 0.45 * math.cos(2 * math.pi * t / seconds))


def _on_off(t: float, rate: float, seconds: float) -> float:
    return rate if t % 60 < 30 else 0.0


def _ramp(t: float, rate: float, seconds: float) -> float:
    return rate * (1 - abs(2 * t / seconds - 1))


def _flash(t: float, rate: float, seconds: float) -> float:
    """Up within five seconds, then half of it gone every tenth of the whole."""
    begins = seconds / 5
    if t < begins:
        return rate / 20
    crowd: float = min(1.0, (t - begins) / 5) * 0.5 ** max(0.0, (t - begins - 5) / (seconds / 10))
    return rate * (0.05 + 0.95 * crowd)


def _constant(seconds: float) -> Distribution:
    return Distribution("constant", (seconds,))


def _around(median: float, sigma: float = 0.5) -> Distribution:
    return Distribution("lognormal", (median, sigma))


LOADS = {
    load.name: load
    for load in (
        Load("steady", "the same rate all the time", 200, 600, _around(0.1), _steady),
        Load("step", "a tenth of the rate, then the rate for two thirds of the time", 400, 600, _around(0.2), _step),
        Load("burst", "a tenth of the rate; every minute the rate for 10 s", 500, 1200, _around(0.1), _burst),
        Load("rare-burst", "a hundredth of the rate; every ten minutes the rate for 10 s", 500, 7200, _around(0.1),
             _rare),
        Load("diurnal", "a day: from a tenth of the rate to the rate and back", 100, 3600, _around(0.1), _diurnal),
        Load("on-off", "the rate for 30 s, nothing for 30 s", 300, 1200, _around(0.1), _on_off),
        Load("ramp", "from nothing to the rate and back", 400, 1200, _around(0.1), _ramp),
        Load("trickle", "seldom a request", 0.1, 3600, _around(0.08, 0.3), _steady),
        Load("flash-crowd", "from a twentieth to the rate in 5 s, then slowly back", 800, 900, _around(0.1), _flash),
        # For an hour: in less than 34 minutes the cold start of the very first volley is the p99 of every policy.
        Load("volley", "100 requests at once, `rate` of them per second on average", 5, 3600, _around(1.0, 0.2), None),
        Load("heavy-tail", "steady; some requests take hundreds of times longer", 100, 1200,
             Distribution("pareto", (0.04, 1.5)), _steady),
        Load("long-streams", "steady; answers that stream for minutes", 0.5, 2400, _around(90, 0.5), _steady),
        Load("mixed-streams", "a tenth of streams of half a minute among short requests", 20, 1200, _around(0.1),
             _steady),
        Load("cpu-bound", "each request burns 30 ms, an environment has half a CPU", 60, 900, _constant(0.03), _steady,
             1.0, 0.5),
        Load("unknown", "the service time changes every five minutes, from 30 ms to 2 s", 40, 1800, _around(0.03),
             _steady),
    )
}  # fmt: skip

VOLLEY = 100  # requests at once
STREAM_SHARE, STREAM = 0.1, 30.0  # of mixed-streams: how many, and their mean in seconds
UNKNOWN = (1.0, 20.0, 4.0, 66.0, 2.0)  # the service time of `unknown`, five minutes each


def generate(load: Load, rate: float, seconds: float, service: Distribution, seed: int) -> Requests:
    chance = Random(f"{load.name} {seed}")
    if load.shape is None:
        return in_order(_volleys(rate, seconds, service, chance))
    shape = load.shape
    takes = service.sampler(Random(f"{load.name} {seed} service"))
    arrive, work = array("q"), array("q")
    t = 0.0
    draw, coin, steady = chance.expovariate, chance.random, shape is _steady
    while (t := t + draw(rate)) < seconds:
        # Thinning: of arrivals at the highest rate, as many as the rate of this moment asks for.
        if steady or coin() * rate < shape(t, rate, seconds):
            arrive.append(int(t * NS))
            work.append(int(_special(load.name, t, takes(), chance) * NS))
    return Requests(arrive, work)


def _special(name: str, t: float, takes: float, chance: Random) -> float:
    if name == "mixed-streams" and chance.random() < STREAM_SHARE:
        return chance.expovariate(1 / STREAM)
    if name == "unknown":
        return takes * UNKNOWN[int(t / 300) % len(UNKNOWN)]
    return takes


def _volleys(rate: float, seconds: float, service: Distribution, chance: Random) -> Iterator[tuple[float, float]]:
    """All of a volley within 10 ms; the gaps between volleys differ by a fifth."""
    takes = service.sampler(chance)
    gap = VOLLEY / rate
    t = gap * chance.random()
    while t < seconds:
        for _ in range(VOLLEY):
            yield t + chance.random() * 0.01, takes()
        t += gap * (0.8 + 0.4 * chance.random())
