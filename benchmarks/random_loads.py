"""Loads drawn by chance: whether the bounds of benchmarks/economics.py hold where no constant was chosen for them.

    python -m benchmarks.random_loads [--first 1] [--loads 24] [--jobs 2] [--policy adaptive] [--usual]

Each number is a load and a world of its own, always the same one: the shape of the arrivals, 0.2 to 2,000 requests/s,
service times of 5 ms to 5 s, cold starts of 0.5 to 10 s, 1 to 100 slots. With `--usual` it is a load of the kinds that
services have, 0.05 to 1,000 requests/s of 10 ms to 3 s, in the world of benchmarks/economics.py. Prints a Markdown
table and what does not hold. A trickle, which may invoke 1.5 times as often as `simple`, is a load with less than one
request at work on average. Clients that wait for their answers send other requests to each policy, so that there is no
oracle for them.
"""

import argparse
import bisect
import math
import multiprocessing
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from benchmarks.economics import COST_MOST, REINVOKE_MS
from lambda_dispatch.simulator.distributions import Distribution
from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.policies import parse
from lambda_dispatch.simulator.requests import NS, Requests, of_clients
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.setting import Setting

REQUESTS = 60_000  # of a load, about
AT_WORK = 400.0  # requests at the busiest, at most
LONGEST = 300.0  # s, of a request of a usual load
HEAVY = "a heavy tail"

Shape = Callable[[float], float]  # s -> share of the rate


class Drawn(NamedTuple):
    says: str
    requests: Requests
    setting: Setting
    trickle: bool


def phases(chance: Random, seconds: float, on: float, off: float, low: float) -> Shape:
    """On and off for times by chance (a Markov-modulated Poisson process)."""
    ends, at = [0.0], 0.0
    while at < seconds:
        at += chance.expovariate(1 / (on if len(ends) % 2 else off))
        ends.append(at)
    return lambda t: 1.0 if bisect.bisect(ends, t) % 2 else low


def shapes(chance: Random, seconds: float) -> dict[str, Shape]:
    period = chance.uniform(10, 240)
    part = chance.uniform(0.1, 0.7)
    low = chance.choice((0.0, 0.01, 0.1, 0.3))
    first, second = chance.uniform(20, 60), chance.uniform(100, 300)
    return {
        "steady": lambda t: 1.0,
        "on and off": lambda t: 1.0 if t % period < period * part else low,
        "phases by chance": phases(chance, seconds, period * part, period, low),
        "sawtooth": lambda t: t % period / period,
        "two waves": lambda t: 0.5 + 0.25 * math.sin(math.tau * t / first) + 0.25 * math.sin(math.tau * t / second),
        "ramp, then a cliff": lambda t: t / (0.7 * seconds) if t < 0.7 * seconds else low,
        "steps up": lambda t: 0.25 * (1 + int(3.99 * t / seconds)),
    }


def draw(number: int) -> Drawn:
    chance = Random(f"random load {number}")
    median = math.exp(chance.uniform(math.log(0.005), math.log(5)))
    service = Distribution("lognormal", (median, chance.uniform(0.1, 1.2)))
    rate = min(math.exp(chance.uniform(math.log(0.2), math.log(2000))), AT_WORK / service.mean)
    seconds = min(1800.0, max(120.0, REQUESTS / rate))
    setting = Setting(
        slots=chance.choice((1, 2, 5, 10, 10, 20, 50, 100)),
        cold=Distribution("lognormal", (math.exp(chance.uniform(math.log(0.5), math.log(10))), 0.15)),
        thaw=Distribution("constant", (chance.uniform(0.02, 0.2),)),
        seed=number,
    )
    found = shapes(chance, seconds)
    name = chance.choice((*found, "clients"))
    world = f"{setting.slots} slots, cold {setting.cold.numbers[0]:.1f} s"
    if name == "clients":
        clients = chance.randint(2, 200)
        seconds = min(300.0, REQUESTS * service.mean / clients)
        made = of_clients(clients, seconds, service.mean)
        return Drawn(f"{clients} clients at once, {service.mean:.3f} s, {world}", made, setting, False)
    if name == "on and off" and seconds < 600 and rate > 100:
        seconds = 600.0
    made = arrivals(chance, rate, seconds, found[name], service)
    says = f"{name}, {rate:.1f}/s for {seconds:.0f} s, {service}, {world}"
    return Drawn(says, made, setting, sum(made.takes) / NS < seconds)


def steps_of(seconds: float, width: float, values: Callable[[], float]) -> Shape:
    """Another share of the rate every `width` s."""
    found = [values() for _ in range(int(seconds / width) + 2)]
    return lambda t: found[int(t / width)]


def walk(chance: Random) -> Callable[[], float]:
    """The next step of a walk by chance of the logarithm."""
    level, step = 0.0, chance.uniform(0.05, 0.4)

    def next_level() -> float:
        nonlocal level
        level = max(-4.0, min(0.0, level + chance.gauss(0, step)))
        return math.exp(level)

    return next_level


def crowds(chance: Random, seconds: float) -> Shape:
    base, gone = chance.uniform(0.05, 0.3), chance.uniform(3, 40)
    begin = sorted(chance.uniform(0, seconds) for _ in range(max(2, int(seconds / 200))))
    return lambda t: min(1.0, base + sum(math.exp(-(t - at) / gone) for at in begin if 0 <= t - at < 10 * gone))


def usual_shapes(chance: Random, seconds: float) -> dict[str, Shape]:
    every, lasts, low = chance.choice((15, 30, 60)), chance.uniform(0.5, 8), chance.choice((0.0, 0.02, 0.1))
    on, off, between = chance.uniform(3, 60), chance.uniform(3, 60), chance.choice((0.02, 0.1, 0.3))
    return {
        "a walk by chance": steps_of(seconds, 10.0, walk(chance)),
        "another rate every minute": steps_of(seconds, 60.0, lambda: min(1.0, chance.lognormvariate(-2, 1))),
        "phases by chance": phases(chance, seconds, on, off, between),
        "crowds that go": crowds(chance, seconds),
        "batches": lambda t: 1.0 if t % every < lasts else low,
        "a day": lambda t: (0.55 - 0.45 * math.cos(math.tau * t / seconds)) * (0.8 + 0.2 * math.sin(t / 7)),
        "days and nights": lambda t: 0.1 if int(6 * t / seconds) % 2 else 0.6 + 0.4 * math.sin(t / 30),
        HEAVY: lambda t: 1.0,
    }


def draw_usual(number: int) -> Drawn:
    chance = Random(f"usual load {number}")
    heavy = chance.random() < 0.125
    median = math.exp(chance.uniform(math.log(0.01), math.log(3)))
    numbers = (median / 2, chance.uniform(1.3, 2.5)) if heavy else (median, chance.uniform(0.2, 1.2))
    service = Distribution("pareto" if heavy else "lognormal", numbers)
    rate = min(math.exp(chance.uniform(math.log(0.05), math.log(1000))), 0.75 * AT_WORK / service.mean)
    seconds = min(3600.0, max(300.0, REQUESTS / rate))
    found = usual_shapes(chance, seconds)
    name = HEAVY if heavy else chance.choice([name for name in found if name != HEAVY])
    made = arrivals(chance, rate, seconds, found[name], service, LONGEST)
    says = f"{name}, {rate:.1f}/s for {seconds:.0f} s, {service}"
    return Drawn(says, made, Setting(seed=number), sum(made.takes) / NS < seconds)


def arrivals(
    chance: Random, rate: float, seconds: float, shape: Shape, service: Distribution, longest: float = math.inf
) -> Requests:
    takes, arrive, work, t = service.sampler(chance), array("q"), array("q"), 0.0
    while (t := t + chance.expovariate(rate)) < seconds and len(arrive) < 3 * REQUESTS:
        if chance.random() < shape(t):
            arrive.append(int(t * NS))
            work.append(max(1, int(min(takes(), longest) * NS)))
    return Requests(arrive, work)


def play(task: tuple[int, str, bool]) -> tuple[int, str, bool, dict[str, Outcome]]:
    number, policy, usual = task
    drawn = draw_usual(number) if usual else draw(number)
    words = ("oracle", "simple", "simple-1", policy)
    played = {word: run(parse(word, drawn.setting), drawn.requests, drawn.setting) for word in words}
    small = {word: replace(outcome, samples=(), slowest=()) for word, outcome in played.items()}
    if drawn.requests.clients:
        del small["oracle"]
    return number, drawn.says, drawn.trickle, small


def broken(found: dict[str, Outcome], policy: str, trickle: bool) -> list[str]:
    """Which of the bounds do not hold, in a word and two numbers each."""
    mine, simple = found[policy], found["simple"]
    bounds = [
        ("cost of simple-1's", mine.environment_seconds / found["simple-1"].environment_seconds, 1.1),
        ("p99 wait ms", mine.wait_p99, simple.wait_p99 + REINVOKE_MS),
        ("worst wait ms", mine.wait_max, simple.wait_max + REINVOKE_MS),
        ("invokes", float(mine.invokes), simple.invokes * (1.5 if trickle else 1.0)),
        ("requests lost", float(mine.requests - mine.served), float(simple.requests - simple.served)),
    ]
    if "oracle" in found:
        bounds.append(
            ("cost of the oracle's", mine.environment_seconds / found["oracle"].environment_seconds, COST_MOST)
        )
    return [f"{what} {value:,.2f} > {bound:,.2f}" for what, value, bound in bounds if value > bound]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--loads", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--policy", default="adaptive")
    parser.add_argument("--usual", action="store_true", help="loads of the kinds that services have")
    given = parser.parse_args(argv)
    tasks = [(number, given.policy, given.usual) for number in range(given.first, given.first + given.loads)]
    print(
        "| load | cost of oracle's, simple-1's | p99 ms, simple's | worst ms, simple's | invokes, simple's | broken |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    with multiprocessing.Pool(given.jobs) as pool:
        for number, says, trickle, found in pool.imap(play, tasks):
            mine, simple = found[given.policy], found["simple"]
            cost = mine.environment_seconds
            of_oracle = f"{cost / found['oracle'].environment_seconds:.2f}" if "oracle" in found else "-"
            print(
                f"| {number}: {says} | {of_oracle}, {cost / found['simple-1'].environment_seconds:.2f} | "
                f"{mine.wait_p99:,.0f}, {simple.wait_p99:,.0f} | {mine.wait_max:,.0f}, {simple.wait_max:,.0f} | "
                f"{mine.invokes:,}, {simple.invokes:,} | {'; '.join(broken(found, given.policy, trickle))} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
