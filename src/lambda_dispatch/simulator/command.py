"""`lambda-dispatch simulate`: what policies and settings would have cost for the same requests."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from lambda_dispatch import prices
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.exits import EX_USAGE
from lambda_dispatch.simulator import distributions, picture, policies, replay, table, traces
from lambda_dispatch.simulator.distributions import Distribution, DistributionError
from lambda_dispatch.simulator.generators import LOADS, generate
from lambda_dispatch.simulator.policies import PolicyError
from lambda_dispatch.simulator.replay import ReplayError
from lambda_dispatch.simulator.requests import Requests
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.traces import TraceError
from lambda_dispatch.telemetry import log

EPILOG = """\
Loads made by the simulator (--load NAME):
{loads}

Policies (--policies A,B): those of this router ({algorithms}), each with options of the router
as in simple:InstanceCountMultiplier=1:MaxInstances=50, and
{rivals}
  {short}

A time by chance (DIST) is a number of seconds, or
{kinds}

Examples:
  lambda-dispatch simulate --load burst --policies oracle,lambda,simple,simple-1
  lambda-dispatch simulate --access-log access.json --cold lognormal:2:0.3 --svg picture.svg
"""


class UsageError(Exception):
    """The command line cannot be used; the text says which part, and why."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def number(least: float, most: float = float("inf"), whole: bool = False) -> Callable[[str], Any]:
    what = "a whole number" if whole else "a number"
    bounds = f"from {least:g} up" if most == float("inf") else f"from {least:g} to {most:g}"

    def parse(text: str) -> Any:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {bounds}")
        return value

    return parse


def dist(text: str) -> Distribution:
    try:
        return distributions.parse(text)
    except DistributionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> Parser:
    it = Parser(
        prog="lambda-dispatch simulate",
        description="What this router's scaling policies, Lambda's own dispatch and others would have cost, and how "
        "long requests would have waited. Nothing is started: the router's own scaler code is run by a virtual clock.",
        epilog=EPILOG.format(
            loads="\n".join(f"  {load.name:<14}{load.says}" for load in LOADS.values()),
            algorithms=", ".join(policies.ALGORITHMS),
            short="\n  ".join(f"{name:<18}short for {long}" for name, long in policies.SHORT.items()),
            rivals="\n".join(f"  {name:<14}{says}" for name, says in policies.RIVALS.items()),
            kinds="\n".join(
                f"  {':'.join((kind, *names)):<28}{says}" for kind, (names, says) in distributions.KINDS.items()
            ),
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    standard = Setting()
    what = it.add_argument_group("requests (one of these; default: --load steady)")
    one = what.add_mutually_exclusive_group()
    one.add_argument("--load", choices=LOADS, metavar="NAME", help="made by the simulator: see below")
    one.add_argument("--csv", type=Path, metavar="FILE", help="columns time and service (s) or service_ms")
    one.add_argument("--access-log", type=Path, metavar="FILE", help="of this router, JSON or text")
    one.add_argument("--combined", type=Path, metavar="FILE", help="Common or Combined Log Format")
    one.add_argument("--replay", type=Path, metavar="FILE", help=(
        "decisions that a running router's admin port answers at /api/v1/decisions?limit=2048"
    ))  # fmt: skip
    what.add_argument("--pool", type=number(0, 65535, True), metavar="N", help="whose decisions, of several pools")
    what.add_argument("--rate", type=number(1e-6, 1e6), help="requests per second at the busiest, of a load")
    what.add_argument("--seconds", type=number(1e-3, 1e8), help="length of a load")
    what.add_argument("--service", type=dist, metavar="DIST", help="what a request takes; where a file does not tell")
    what.add_argument("--skip-bad-lines", action="store_true", help="count lines that cannot be read, and go on")
    world = it.add_argument_group("environments")
    world.add_argument("--slots", type=number(1, 100, True), metavar="N",
                       help="requests at once in one (MaxConcurrentCount)")  # fmt: skip
    world.add_argument("--cold", type=dist, default=standard.cold, metavar="DIST", help="start of a new one")
    world.add_argument("--thaw", type=dist, default=standard.thaw, metavar="DIST", help="start of a frozen one")
    world.add_argument("--warm", type=dist, default=standard.warm, metavar="DIST", help="how long one is kept frozen")
    world.add_argument("--frozen", type=number(0, 4096, True), default=0, metavar="N", help="frozen at the beginning")
    world.add_argument("--idle-exit", type=number(0), default=standard.idle_exit, metavar="S",
                       help="without requests, after which one ends")  # fmt: skip
    world.add_argument("--life", type=number(1, 885), default=standard.life, metavar="S", help="of one invoke")
    world.add_argument("--share", type=number(0, 1), default=None, help="of a request's time on the CPU")
    world.add_argument("--cpus", type=number(0.01, 64), default=None, help="of an environment")
    world.add_argument("--memory-mb", type=number(128, 10240, True), default=standard.memory_mb, metavar="MB",
                       help="of an environment, for its price")  # fmt: skip
    world.add_argument("--failing", type=number(0, 1), default=0.0, metavar="SHARE", help="of all starts")
    limits = it.add_argument_group("Lambda and routers")
    limits.add_argument("--concurrency", type=number(1, 1e6, True), default=standard.concurrency, metavar="N",
                        help="invokes of the account at once")  # fmt: skip
    limits.add_argument("--burst", type=number(1, 1e6), default=standard.burst, metavar="N",
                        help="new environments at once")  # fmt: skip
    limits.add_argument("--burst-rate", type=number(0, 1e6), default=standard.per_second, metavar="N",
                        help="more of them per second")  # fmt: skip
    limits.add_argument("--routers", type=number(1, 64, True), default=1, metavar="N",
                        help="each with instances of its own; requests go to them in turn")  # fmt: skip
    out = it.add_argument_group("comparison")
    out.add_argument("--policies", metavar="LIST", help=f"default {','.join(policies.DEFAULT)}")
    out.add_argument("--seed", type=number(0, 2**63, True), default=1, help="the same seed gives the same bytes")
    out.add_argument(
        "--prices", type=Path, metavar="FILE", help="TOML; what it leaves out stays as in lambda_dispatch/prices.toml"
    )
    out.add_argument("--svg", type=Path, metavar="FILE", help="environments and longest waits over time")
    out.add_argument("--json", type=Path, metavar="FILE", help="the table as JSON")
    return it


def main(argv: Sequence[str]) -> int:
    log.configure("simulator", "error", "text")
    try:
        given = parser().parse_args(argv)
        cost = prices.load(given.prices)
        setting = _setting(given)
        played = _played(given, setting)
        words = given.policies.split(",") if given.policies else played.policies
        chosen = [policies.parse(word, played.setting) for word in words]
        for note in played.notes:
            print(f"lambda-dispatch simulate: {note}", file=sys.stderr)
        outcomes = [run(policy, played.requests, played.setting) for policy in chosen]
        print(table.render(outcomes, played.setting, cost), end="")
        if given.json:
            _write(given.json, table.document(outcomes, played.setting, cost))
        if given.svg:
            _write(given.svg, picture.render(outcomes, f"{played.title}: {len(played.requests):,} requests"))
    except (UsageError, TraceError, PolicyError, ReplayError, ConfigError) as error:
        print(f"lambda-dispatch simulate: {error}", file=sys.stderr)
        return EX_USAGE
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _setting(given: argparse.Namespace) -> Setting:
    return Setting(
        slots=given.slots or Setting().slots,
        cold=given.cold,
        thaw=given.thaw,
        warm=given.warm,
        idle_exit=given.idle_exit,
        life=given.life,
        concurrency=given.concurrency,
        burst=given.burst,
        per_second=given.burst_rate,
        routers=given.routers,
        share=given.share or 0.0,
        cpus=given.cpus or 1.0,
        frozen=given.frozen,
        failing=given.failing,
        memory_mb=given.memory_mb,
        seed=given.seed,
    )


@dataclass(frozen=True, slots=True)
class Played:
    """What is compared, and in which world."""

    title: str
    requests: Requests
    setting: Setting
    policies: Sequence[str] = policies.DEFAULT
    notes: Sequence[str] = ()


def _played(given: argparse.Namespace, setting: Setting) -> Played:
    for kind in (*traces.READERS, "replay"):
        path = getattr(given, kind.replace("-", "_"))
        if path is None:
            continue
        for flag in ("rate", "seconds"):
            if getattr(given, flag) is not None:
                raise UsageError(f"--{flag} is for --load; the file says when requests come")
        return _replayed(given, setting, path) if kind == "replay" else _traced(given, setting, kind, path)
    load = LOADS[given.load or "steady"]
    setting = replace(
        setting,
        share=load.share if given.share is None else given.share,
        cpus=load.cpus if given.cpus is None else given.cpus,
    )
    requests = generate(
        load, given.rate or load.rate, given.seconds or load.seconds, given.service or load.service, given.seed
    )
    if not len(requests):
        raise UsageError(f"the load {load.name} has no request in that time; give more --seconds or a higher --rate")
    return Played(load.name, requests, setting)


def _traced(given: argparse.Namespace, setting: Setting, kind: str, path: Path) -> Played:
    service = given.service.sampler(Random(f"service {given.seed}")) if given.service else None
    requests, skipped = traces.read(kind, path, service, given.skip_bad_lines)
    return Played(
        path.name, requests, setting, notes=[f"{skipped} lines of {path} could not be read"] if skipped else []
    )


def _replayed(given: argparse.Namespace, setting: Setting, path: Path) -> Played:
    recording = replay.read(path, given.pool)
    if not given.slots:
        setting = replace(setting, slots=int(recording.records[-1].seen("max_concurrent")))
    requests, recorded = replay.requests_of(recording, given.seed), replay.setting_of(recording, setting.slots)
    count, differ = len(recording.records), replay.changed(recording)
    note = (
        f"{count} decisions in {recording.seconds:.0f} s; this version takes "
        + (f"{differ} of them differently" if differ else "every one of them again as recorded")
        + f". The requests are estimated from them; the recorded setting is {recorded}"
    )
    words = list(dict.fromkeys(("oracle", "lambda", recorded, "simple-1", *policies.ALGORITHMS)))
    return Played(path.name, requests, setting, words, [note])
