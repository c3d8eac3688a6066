"""The original project's published table, run again here: Lambda's own dispatch and the router, case by case.

    python -m benchmarks.load.published [--rounds 3] [--algorithm simple] [--svg docs/published.svg]
                                        [--json figures.json]

Prints the table as Markdown; some five minutes. What is emulated and what is measured:

- An environment is the embedded Lambda's with a real runtime in it, and an application with one worker, which gives its
  time to its requests in turns and sleeps instead of computing (benchmarks/load/c/worker.c). So a hundred environments
  need hardly any CPU, and each is as fast as a published one was with its 512 MB, 0.29 of a vCPU. How long a request
  takes is drawn (seeded), from half to one and a half of the mean.
- How fast that was is taken from the published run of the same case and way: environments / requests per second. So
  rates are given, up to what router, extension or Lambda lose of them; that loss and how long single requests take is
  what the steady cases measure. Requests of Lambda's own dispatch took as long as the client, too, needed (with 10
  clients instead of 100 the published S3 run has 52 ms in place of 219), so what they would bill is at most that.
- Of the scale-up nothing is given but a cold start of 8 s and the time per request of the published runs that had all
  the environments they needed: its rate, its slowest requests and its bill are what comes out.
- The router may have as many instances as the published run had. Router and extension are the product, one worker, in
  real time. The embedded Lambda cannot carry what AWS does: steady cases of Lambda's own dispatch run in slow motion
  (`slow` in published_figures.py), and what is shown is converted back, the embedded Lambda's own overhead with it.
- Clients as many as the published ones, each with one request at a time. In the scale-up they all begin at once and
  each asks its share; of a steady case the time counts in which all are busy. They are in this process and speak
  HTTP/1.1 without TLS; the published ones spoke HTTP/2 with TLS to a load balancer.
"""

import argparse
import asyncio
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.load.machine import compiled
from benchmarks.load.published_figures import CASES, WAYS, Case
from benchmarks.load.side_by_side import COLORS, NAMES, Stack, all_ended
from benchmarks.load.volley import Shot, Volley, fire, keep_firing

from lambda_dispatch.simulator.plot import Bars, Chart, Group, Series, draw
from lambda_dispatch.simulator.policies import ALGORITHMS

HOLD = "/busy/500000/4"  # keeps an environment busy until all have been asked for
SAMPLE = 0.05  # seconds between two looks at the open invokes
WARM_UPS = 60  # volleys the router gets to open all its instances
ALGORITHM = "of the scaler; default simple, the original's: others open as many instances as they find right"
SHORT = {"direct": "Lambda", "dispatch": "lambda-dispatch"}
PALE = {"direct": "#e6b0aa", "dispatch": "#a9cce3"}


@dataclass(slots=True)
class Options:
    rounds: int
    seconds: float
    cold_start: float
    fleet: float  # of the clients, environments and requests; 1 but for a quick look
    algorithm: str  # of the router's scaler

    def part(self, number: int) -> int:
        return max(1, round(number * self.fleet))


@dataclass(slots=True)
class Round:
    rps: float
    p50: float  # ms
    p99: float
    worst: float
    environments: int
    billed: float  # environment-seconds per million requests
    failed: dict[str, int] = field(default_factory=dict)
    throttled: int = 0  # answers 429, each of them sent again
    times: list[float] = field(default_factory=list)  # s


def told(volley: Volley, environments: int, billed: float, slow: int = 1) -> Round:
    """`billed`: seconds of environments for one request."""
    return Round(
        volley.rate * slow,
        *(1e3 * volley.quantile(share) / slow for share in (0.5, 0.99, 1.0)),
        environments=environments,
        billed=billed / slow * 1e6,
        failed=volley.failed,
        throttled=volley.throttled,
        times=[took / slow for took in volley.times],
    )


class Meter:
    """The environments that work while a volley runs, and what they bill.

    Lambda bills an invoke when it ends. Those of its own dispatch are over with their request; the router's stay open,
    and are looked at again and again.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._busy: list[tuple[float, int]] = []  # when, environments with an open invoke
        self.environments = 0

    async def __aenter__(self) -> "Meter":
        self._before = await asyncio.to_thread(self._counts)
        self._watch = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        with suppress(asyncio.CancelledError):
            await self._watch
        if self._stack.mode == "direct":
            self.environments = (await asyncio.to_thread(self._counts))["environments"]
        else:
            self.environments = max(busy for _, busy in self._busy)

    async def billed_until_all_ended(self) -> float:
        """Seconds."""
        after = await asyncio.to_thread(all_ended, self._stack)
        return float(after["billed_ms"] - self._before["billed_ms"]) / 1000

    async def billed_for_one(self, volley: Volley) -> float:
        """Seconds, while nothing but such requests was on its way."""
        if self._stack.mode == "direct":
            return await self.billed_until_all_ended() / max(1, len(volley.answers))
        busy = [busy for at, busy in self._busy if volley.begin <= at <= volley.end]
        return statistics.mean(busy) / volley.rate

    def _counts(self) -> dict[str, Any]:
        return dict(self._stack.status()["functions"]["app"])

    async def _sample(self) -> None:
        while self._stack.mode != "direct":
            self._busy.append((time.perf_counter(), (await asyncio.to_thread(self._counts))["busy"]))
            await asyncio.sleep(SAMPLE)


def open_stack(way: str, environments: int, warm: int, algorithm: str) -> Stack:
    router = ("--workers", "1", "--max-instances", str(environments), "--scaling-algorithm", algorithm)
    flags = router if way == "dispatch" else ()
    stack = Stack(way, environments, [compiled("worker")], HOLD, flags)
    try:
        stack.turn(seed=1)
        asyncio.run(stack.warm(warm))
    except BaseException:
        stack.__exit__()
        raise
    return stack


async def all_open(stack: Stack, instances: int, clients: int) -> None:
    """Lets the router open as many instances as the case has, which takes some requests."""
    for _ in range(WARM_UPS):
        await fire(stack.port, Shot("/busy/7000/4", answer=4), clients, 10 * clients)
        if stack.status()["functions"]["app"]["busy"] >= instances:
            return
    raise SystemExit(f"the router did not open {instances} instances for {clients} clients")


async def steady(stack: Stack, case: Case, options: Options) -> list[Round]:
    given = case.given(stack.mode)
    assert given is not None
    slow = case.slow if stack.mode == "direct" else 1
    clients = options.part(case.clients)
    shot = case.shot(stack.mode, given.work * slow)
    each = slow * case.clients / given.rps  # seconds a request takes
    rounds = []
    for _ in range(options.rounds):
        if stack.mode == "dispatch":
            if options.algorithm == "simple":
                await all_open(stack, options.part(given.environments), clients)
            else:
                await keep_firing(stack.port, shot, clients, 1.5 * each, options.seconds)
        async with Meter(stack) as meter:
            volley = await keep_firing(stack.port, shot, clients, 1.5 * each, max(options.seconds, 4 * each))
        rounds.append(told(volley, meter.environments, await meter.billed_for_one(volley), slow))
    return rounds


async def scale_up(stack: Stack, case: Case, options: Options) -> Round:
    """From few warm environments; the bill is that of the whole, up to the last invoke's end."""
    given = case.given(stack.mode)
    assert given is not None
    stack.turn(init_at_least=options.cold_start)
    async with Meter(stack) as meter:
        clients = options.part(case.clients)
        volley = await fire(stack.port, case.shot(stack.mode, given.work), clients, clients * case.each)
    billed = await meter.billed_until_all_ended()
    return told(volley, meter.environments, billed / max(1, len(volley.answers)))


async def refused(stack: Stack, case: Case) -> str:
    """What a case that Lambda's own dispatch cannot serve is answered with."""
    volley = await fire(stack.port, case.shot(stack.mode, 0.0), 1, 1)
    if volley.times:
        raise SystemExit(f"{case.title}: was answered, though it is over Lambda's limit")
    return ", ".join(volley.failed)


Measured = dict[tuple[str, str], list[Round] | str]  # by case and way; text: why there is none


def measure(cases: list[Case], options: Options, say: Callable[[str], None]) -> Measured:
    measured: Measured = {}
    for way in WAYS:
        for environments in sorted({case.environments(way) for case in cases if not case.cold}):
            mine = [case for case in cases if case.environments(way) == environments and not case.cold]
            here = options.part(environments)
            with open_stack(way, here, here, options.algorithm) as stack:
                for case in mine:
                    say(f"{case.title}, {NAMES[way]}")
                    if case.given(way) is None:
                        measured[case.key, way] = uvloop.run(refused(stack, case))
                    else:
                        measured[case.key, way] = uvloop.run(steady(stack, case, options))
    for case in (case for case in cases if case.cold):
        for way in WAYS:
            rounds: list[Round] = []
            for _ in range(options.rounds):
                say(f"{case.title}, {NAMES[way]}")
                most, warm = options.part(case.environments(way)), options.part(case.warm(way))
                with open_stack(way, most, warm, options.algorithm) as stack:
                    rounds.append(uvloop.run(scale_up(stack, case, options)))
            measured[case.key, way] = rounds
    return measured


# showing it


def median(rounds: list[Round], name: str) -> float:
    return statistics.median(getattr(one, name) for one in rounds)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(cases: list[Case], measured: Measured) -> str:
    """Each cell: published, then measured here."""
    heads = ["", "", "environments", "requests/s", "p50 ms", "p99 ms", "worst ms", "billed s per 1M requests, here"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for case in cases:
        for way in WAYS:
            given, here = case.given(way), measured[case.key, way]
            cells = [case.title if way == WAYS[0] else "", NAMES[way]]
            if isinstance(here, str):
                cells += [f"not possible: {here}", *[""] * 5]
            else:
                assert given is not None
                cells += [f"{given.shown or given.environments} / {median(here, 'environments'):.0f}"]
                for name in ("rps", "p50", "p99", "worst"):
                    there = getattr(given, name)
                    cells.append(f"{number(there) if there else '-'} / {number(median(here, name))}")
                cells.append(f"{case.bound(way)}{median(here, 'billed'):,.0f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def quantiles(times: list[float], points: int = 200) -> list[tuple[float, float]]:
    """% of the requests, and within how many seconds they were answered."""
    ordered = sorted(times)
    shares = [(number + 1) / points for number in range(points)]
    return [(100 * share, ordered[max(0, math.ceil(share * len(ordered)) - 1)]) for share in shares]


def plot(cases: list[Case], measured: Measured) -> str:
    charts: list[Bars | Chart] = []
    groups = []
    for case in (case for case in cases if not case.cold):
        bars: list[float | None] = []
        for way in WAYS:
            given, here = case.given(way), measured[case.key, way]
            if given is None or isinstance(here, str):
                bars += [None, None]
            else:
                bars += [given.rps / given.environments, median(here, "rps") / median(here, "environments")]
        groups.append(Group(case.title, bars))
    kinds = [
        (f"{SHORT[way]}, {which}", shade[way])
        for way in WAYS
        for which, shade in (("published", PALE), ("here", COLORS))
    ]
    if groups:
        charts.append(Bars("requests/s for each environment that is paid for", groups, kinds))
    for case in (case for case in cases if case.cold):
        series = []
        for way in WAYS:
            given, here = case.given(way), measured[case.key, way]
            assert given is not None and not isinstance(here, str)
            series.append(Series(f"{SHORT[way]}, published", COLORS[way], list(given.quantiles), dashed=True))
            middle = sorted(here, key=lambda one: one.rps)[len(here) // 2]
            series.append(Series(f"{SHORT[way]}, here", COLORS[way], quantiles(middle.times)))
        charts.append(
            Chart(
                f"{case.title}: seconds within which a share of the requests was answered", "% of the requests", series
            )
        )
    return draw("The original project's table, published and here", charts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of a round of a steady case, at least; default 2")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--cold-start", type=float, default=8.0, help="seconds, default 8")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="simple", help=ALGORITHM)
    parser.add_argument("--quick", action="store_true", help="one round, with a tenth of clients and environments")
    parser.add_argument("--svg", type=Path, help="where to write the plot")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    options = Options(
        1 if given.quick else given.rounds,
        0.2 if given.quick else given.seconds,
        given.cold_start,
        0.1 if given.quick else 1.0,
        given.algorithm,
    )
    cases = [CASES[key] for key in given.only]
    measured = measure(cases, options, lambda line: print(line, file=sys.stderr, flush=True))
    print(table(cases, measured))
    if given.svg:
        given.svg.write_text(plot(cases, measured))
    if given.json:
        rows = {
            f"{key}, {way}": here if isinstance(here, str) else [{**asdict(one), "times": []} for one in here]
            for (key, way), here in measured.items()
        }
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    for (key, way), here in measured.items():
        throttled = 0 if isinstance(here, str) else sum(one.throttled for one in here)
        if throttled:
            print(f"{key}, {NAMES[way]}: {throttled} requests throttled and sent again", file=sys.stderr)
    failed = {
        at: one.failed for at, here in measured.items() if not isinstance(here, str) for one in here if one.failed
    }
    for (key, way), what in failed.items():
        print(f"{key}, {NAMES[way]}: failed: {what}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
