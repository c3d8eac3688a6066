"""What scaling costs: every policy, its rivals and the lower bound over many workloads, with the same requests.

    python -m benchmarks.economics [--seeds 20] [--jobs 2] [--workloads steady,burst] [--policies simple,simple-1]
                                   [--markdown benchmarks/ECONOMICS.md] [--svg docs/economics.svg]
                                   [--played played.jsonl]

Each workload is played with each seed by each policy in the simulator (`lambda-dispatch simulate`, docs/simulate.md).
Nothing runs for real. Prints the page that is kept as ECONOMICS.md. With `--played` each outcome is kept in a file as
soon as it is known, and none that is there is played again: an interrupted run goes on where it was, and after a change
of one policy only its lines have to be deleted.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lambda_dispatch import prices
from lambda_dispatch.simulator.generators import LOADS, Load, generate
from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.plot import Chart, Series, draw
from lambda_dispatch.simulator.policies import ALGORITHMS, parse
from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.table import usd

RIVALS = ("oracle", "lambda", "knative")
COLORS = {
    "oracle": "#111111",
    "lambda": "#c0392b",
    "knative": "#8e44ad",
    "simple": "#e67e22",
    "simple-1": "#d4ac0d",
    "ewma": "#16a085",
    "adaptive": "#1f6fb2",
    "adaptive-spares": "#2e86de",
}
# Two-sided 95 % of Student's t for 1 to 30 degrees of freedom; then the normal's.
T95 = (
    12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
STEADY = ("steady", "ramp", "diurnal")
BURSTS = ("burst",)
RETURNING = ("burst", "on-off", "volley", "rare-burst")  # bursts that come back within the life of spares
REINVOKE_MS = 80.0
COST_MOST = 1.4  # of the oracle's


@dataclass(frozen=True, slots=True)
class Estimate:
    mean: float
    half: float  # half of the 95 % confidence interval
    most: float

    def text(self, digits: int) -> str:
        return f"{self.mean:,.{digits}f} ± {self.half:,.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean, math.nan, max(values))
    t = T95[len(values) - 2] if len(values) - 1 <= len(T95) else 1.96
    return Estimate(mean, t * statistics.stdev(values) / math.sqrt(len(values)), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One policy over all seeds of one workload."""

    cost: Estimate  # of the oracle's
    waited: Estimate  # share
    p99: Estimate  # ms
    worst: Estimate
    time_p99: Estimate
    invokes: Estimate
    cold: Estimate
    utilisation: Estimate
    usd: Estimate  # of a million requests
    lost: int


def row(outcomes: Sequence[Outcome], oracles: Sequence[Outcome]) -> Row:
    cost, setting = prices.load(), Setting()
    return Row(
        estimate([o.environment_seconds / x.environment_seconds for o, x in zip(outcomes, oracles, strict=True)]),
        estimate([o.waited for o in outcomes]),
        estimate([o.wait_p99 for o in outcomes]),
        estimate([o.wait_max for o in outcomes]),
        estimate([o.time_p99 for o in outcomes]),
        estimate([float(o.invokes) for o in outcomes]),
        estimate([float(o.cold_starts) for o in outcomes]),
        estimate([o.utilisation for o in outcomes]),
        estimate([usd(o, setting, cost) / o.requests * 1e6 for o in outcomes]),
        sum(o.requests - o.served for o in outcomes),
    )


Key = tuple[str, int, str, float]  # workload, seed, policy, scale


def play(task: tuple[str, int, tuple[str, ...], float]) -> list[tuple[Key, Outcome]]:
    name, seed, policies, scale = task
    load = LOADS[name]
    setting = Setting(share=load.share, cpus=load.cpus, seed=seed)
    requests = generate(load, load.rate, load.seconds * scale, load.service, seed)
    found = []
    for word in policies:
        outcome = run(parse(word, setting), requests, setting)
        found.append(((name, seed, word, scale), replace(outcome, samples=(), slowest=())))
    return found


def played_before(path: Path | None) -> dict[Key, Outcome]:
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {(name, seed, word, scale): Outcome(**outcome) for (name, seed, word, scale), outcome in lines}


def measure(
    workloads: Sequence[str], seeds: int, policies: tuple[str, ...], scale: float, jobs: int, kept: Path | None = None
) -> dict[str, dict[str, Row]]:
    played = played_before(kept)
    numbers = range(1, seeds + 1)
    tasks = []
    for seed in numbers:
        for name in workloads:
            missing = tuple(word for word in policies if (name, seed, word, scale) not in played)
            if missing:
                tasks.append((name, seed, missing, scale))
    with multiprocessing.Pool(jobs) as pool:
        for found in pool.imap_unordered(play, tasks):
            played.update(found)
            if kept is not None:
                with kept.open("a") as file:
                    file.writelines(json.dumps([key, asdict(outcome)]) + "\n" for key, outcome in found)
    rows: dict[str, dict[str, Row]] = {}
    for name in workloads:
        oracles = [played[name, seed, "oracle", scale] for seed in numbers]
        rows[name] = {word: row([played[name, seed, word, scale] for seed in numbers], oracles) for word in policies}
    return rows


def blind(load: Load, seed: int, scale: float, invokes: float) -> float:
    """At least what a policy costs, of the oracle's, that does not know when the next request comes and invokes at most
    so often; requests by chance, but not volleys.

    A gap is a time in which no request is at work. A policy keeps an environment through it, or ends the last one
    before the next request. Gaps between arrivals by chance have no memory: whatever the rule, of a share q of the gaps
    that it ends it keeps one open for (1 - q) of their mean length on average, and pays a start of a frozen environment
    for q of them. It cannot end more gaps than it invokes. All else costs as much as the oracle's: environments for
    bursts start in time and end with them, as cold as the oracle's where nobody keeps spares, and no queue has to be
    served.
    """
    setting = Setting(share=load.share, cpus=load.cpus, seed=seed)
    requests = generate(load, load.rate, load.seconds * scale, load.service, seed)
    oracle = run(parse("oracle", setting), requests, setting).environment_seconds
    gaps, until = [], 0
    for at, takes in zip(requests.arrive, requests.takes, strict=True):
        if until and at > until:
            gaps.append((at - until) / NS)
        until = max(until, at + takes)
    if not gaps:
        return 1.0
    thaw, cold = setting.thaw.mean, setting.cold.mean
    paid = sum(min(gap, thaw) if gap <= setting.warm.mean else min(gap, cold) for gap in gaps)
    ended = min(1.0, invokes / len(gaps))
    mean = statistics.fmean(gaps)
    # Where a gap is shorter than a start, on average, no rule gains by ending one.
    return 1 + (len(gaps) * min((1 - ended) * mean + ended * thaw, mean) - paid) / oracle


def unreachable(rows: dict[str, dict[str, Row]], seeds: int, scale: float, word: str = "adaptive") -> list[str]:
    """For each workload that costs more than 1.4: what no policy without knowledge of the future can be below."""
    told = []
    for name, found in rows.items():
        if not {word, "simple"} <= found.keys() or found[word].cost.mean <= COST_MOST or LOADS[name].shape is None:
            continue
        invokes = found["simple"].invokes.mean
        least = estimate([blind(LOADS[name], seed, scale, invokes) for seed in range(1, seeds + 1)])
        told.append(
            f"- {name}: a policy that does not know when the next request comes, keeps no spares frozen, and invokes "
            f"no more often than `simple`, costs at least {least.text(2)} of the oracle's (`blind()` in "
            "benchmarks/economics.py)"
        )
    return told


# The page -------------------------------------------------------------------------------------------------------------


def page(
    rows: dict[str, dict[str, Row]], policies: tuple[str, ...], seeds: int, scale: float, command: str, picture: str
) -> str:
    setting = Setting()
    length = "Each workload has its whole length" if scale == 1 else f"Each workload has {scale:g} of its length"
    parts = [
        "# What scaling costs",
        "",
        f"Written by `{command}`. Simulated, not measured: `lambda-dispatch simulate` plays the same requests for "
        f"every policy, {seeds} seeds each; ± is half of the 95 % confidence interval of the mean. {length}.",
        "",
        f"The world: {setting.slots} slots per environment, a cold start takes {setting.cold} s, the start of a frozen "
        f"environment {setting.thaw} s, an instance ends after {setting.idle_exit} s without requests and after "
        f"{setting.life:g} s in any case, and Lambda keeps a frozen environment for {setting.warm} s. Cost is the time "
        "from an invoke to its return, starts included, in environment-seconds; the oracle's is 1.00. The oracle knows "
        "the future and lets no request wait (defined in docs/simulate.md). Prices are list prices of Lambda in "
        f"us-east-1, x86, {setting.memory_mb} MB.",
        "",
        "## Cost, of the oracle's",
        "",
        *_table(rows, policies, lambda it: f"{it.cost.mean:.2f} ± {it.cost.half:.2f}"),
        "",
        "## Wait, p99 and worst, ms",
        "",
        "The mean over the seeds of each seed's p99 and of its longest wait.",
        "",
        *_table(rows, policies, lambda it: f"{it.p99.mean:,.0f} / {it.worst.mean:,.0f}"),
        "",
    ]
    if picture:
        parts += [f"![cost over p99 wait of every policy in every workload]({picture})", ""]
    parts += ["## What was to be shown", "", *verdicts(rows), *unreachable(rows, seeds, scale), ""]
    parts += ["## Each workload", ""]
    for name, found in rows.items():
        parts += [f"### {name}", "", f"{describe(LOADS[name])}", "", *_details(found), ""]
    return "\n".join(parts)


def describe(load: Load) -> str:
    says = load.says[0].upper() + load.says[1:]
    cpu = f" {load.share:.0%} of it on the CPU; an environment has {load.cpus:g}." if load.share else ""
    return f"{says}; {load.rate:g} requests/s, {load.seconds:g} s, service time {load.service} s.{cpu}"


def _table(rows: dict[str, dict[str, Row]], policies: Iterable[str], cell) -> list[str]:  # type: ignore[no-untyped-def]
    columns = [word for word in policies if word != "oracle"]
    lines = [f"| workload | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    return lines + [f"| {name} | {' | '.join(cell(found[word]) for word in columns)} |" for name, found in rows.items()]


def _details(found: dict[str, Row]) -> list[str]:
    heads = ("policy", "cost", "waited", "p99 wait ms", "worst ms", "p99 time ms", "invokes", "cold", "utilisation",
             "USD per million", "lost")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for word, it in found.items():
        cells = (
            it.cost.text(2),
            f"{it.waited.mean:.2%}",
            it.p99.text(0),
            it.worst.text(0),
            it.time_p99.text(0),
            it.invokes.text(0),
            it.cold.text(0),
            f"{it.utilisation.mean:.0%}",
            it.usd.text(2),
            f"{it.lost:,}",
        )
        lines.append(f"| {word} | {' | '.join(cells)} |")
    return lines


def verdicts(rows: dict[str, dict[str, Row]], word: str = "adaptive") -> list[str]:
    """Each bound, whether it holds, and where not."""
    for needed in (word, "simple", "simple-1"):
        if any(needed not in found for found in rows.values()):
            return [f"`{needed}` was not played, so nothing is compared."]

    def mine(name: str) -> Row:
        return rows[name][word]

    def check(text: str, names: Iterable[str], value, bound) -> str:  # type: ignore[no-untyped-def]
        names = [name for name in names if name in rows]
        wrong = [f"{name} {value(name):,.2f} > {bound(name):,.2f}" for name in names if value(name) > bound(name)]
        held = "holds" if not wrong else f"does not hold in {len(wrong)} of {len(names)}: {'; '.join(wrong)}"
        return f"- {text}: **{held}**"

    every = list(rows)
    spares = "adaptive-spares"
    told = [
        check("p99 wait under 100 ms in bursts that come back, with frozen spares",
              [name for name in RETURNING if spares in rows.get(name, {})],
              lambda n: rows[n][spares].p99.mean, lambda n: 100.0)
    ]  # fmt: skip
    return [
        check("cost at most 1.4 of the oracle's", every, lambda n: mine(n).cost.mean,
              lambda n: COST_MOST),
        check("cost at most 1.25 in steady, ramp and daily ones", STEADY, lambda n: mine(n).cost.mean, lambda n: 1.25),
        check("cost at most 1.1 of `simple` with multiplier 1", every, lambda n: mine(n).cost.mean,
              lambda n: 1.1 * rows[n]["simple-1"].cost.mean),
        check("p99 wait not above `simple`'s by more than 80 ms", every, lambda n: mine(n).p99.mean,
              lambda n: rows[n]["simple"].p99.mean + REINVOKE_MS),
        check("worst wait not above `simple`'s by more than 80 ms", every, lambda n: mine(n).worst.mean,
              lambda n: rows[n]["simple"].worst.mean + REINVOKE_MS),
        check("p99 wait at most half of `simple`'s in volley and step", ("volley", "step"), lambda n: mine(n).p99.mean,
              lambda n: rows[n]["simple"].p99.mean / 2),
        check("p99 wait under 100 ms in bursts that come back", BURSTS, lambda n: mine(n).p99.mean, lambda n: 100.0),
        check("invokes not above `simple`'s, in trickles 1.5 times", every, lambda n: mine(n).invokes.mean,
              lambda n: rows[n]["simple"].invokes.mean * (1.5 if n == "trickle" else 1.0)),
        check("requests lost not above `simple`'s, all seeds together", every, lambda n: float(mine(n).lost),
              lambda n: float(rows[n]["simple"].lost)),
        check("CPU-bound: p99 time not above `simple`'s", ("cpu-bound",), lambda n: mine(n).time_p99.mean,
              lambda n: rows[n]["simple"].time_p99.mean),
        check("CPU-bound: cost not above `simple`'s", ("cpu-bound",), lambda n: mine(n).cost.mean,
              lambda n: rows[n]["simple"].cost.mean),
        *(told if any(spares in found for found in rows.values()) else []),
    ]  # fmt: skip


def picture(rows: dict[str, dict[str, Row]], policies: Iterable[str]) -> str:
    series = [
        Series(
            word,
            COLORS.get(word, "#777777"),
            [(max(1.0, found[word].p99.mean), found[word].cost.mean) for found in rows.values()],
            dots=True,
        )
        for word in policies
        if word != "oracle"
    ]
    chart = Chart("cost, of the oracle's, over p99 wait", "p99 wait, ms (1: none)", series, logarithmic=True)
    return draw(f"Each dot is one policy in one of {len(rows)} workloads: lower and further left is better", [chart])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the length of every workload")
    parser.add_argument("--workloads", default=",".join(LOADS))
    parser.add_argument("--policies", default=",".join(["lambda", "knative", "simple", "simple-1", *ALGORITHMS[1:]]))
    parser.add_argument("--markdown", type=Path, help="where to write the page; else it is printed")
    parser.add_argument("--svg", type=Path, help="where to write the picture")
    parser.add_argument("--played", type=Path, help="a file of JSON lines that keeps what has been played")
    given = parser.parse_args(argv)
    workloads = given.workloads.split(",")
    for name in workloads:
        if name not in LOADS:
            parser.error(f"--workloads: {name!r} is none of {', '.join(LOADS)}")
    policies = ("oracle", *(word for word in given.policies.split(",") if word != "oracle"))
    began = time.monotonic()
    rows = measure(workloads, given.seeds, policies, given.scale, given.jobs, given.played)
    command = "python -m benchmarks.economics " + " ".join(sys.argv[1:] if argv is None else argv)
    shown = f"../{given.svg}" if given.svg and given.markdown else ""
    text = page(rows, policies, given.seeds, given.scale, command.strip(), shown)
    if given.svg:
        given.svg.write_text(picture(rows, policies))
    if given.markdown:
        given.markdown.write_text(text)
    else:
        print(text)
    print(f"played in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
