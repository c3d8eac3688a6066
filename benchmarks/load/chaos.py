"""Processes are killed, frozen and refused under steady load; only the requests in their hands may fail.

Operators give commands meanwhile, of which no request may notice anything.

    python -m benchmarks.load.chaos --seconds 300 --seed 1 --workers 2 [--every 5] [--log router.log]

What happens when is drawn from the seed. Afterwards these must hold, or the exit code is 1:

- each request that failed was in the hands of a process that was killed or frozen (custody.py says how that is known);
- a worker or scaler that was killed has a successor that is ready within RECOVERY, not counted what it was runnable and
  had no CPU;
- what comes RECOVERY seconds after a kill, or later, is answered, and soon;
- at the end the board's gauges are zero, its counters agree with what the clients counted, Lambda has no open invoke;
- there were no more invokes than the start budget allows;
- no process is left.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import custody
from benchmarks.load.custody import Victim
from benchmarks.load.rig import Environment, Rig
from benchmarks.load.steady import Outcome, SteadyLoad

from lambda_dispatch.scaler.record import differences, from_board
from lambda_dispatch_core.board import board as b

RECOVERY = 2.0  # seconds after which nothing of a kill may be left to see
SLOW = 1.0  # seconds that no request of this load takes while all is well
# A frozen instance is noticed by its silence: a PING is sent after INTERVAL, TIMEOUT is waited for its answer, and both
# are looked at once a second.
PING_INTERVAL, PING_TIMEOUT = 1.0, 1.0
NOTICED = PING_INTERVAL + PING_TIMEOUT + 2.0
LIMIT = 10  # requests at once per instance
BURST, RATE = 100, 10.0  # the start budget: invokes at once, and per second
PATIENCE = 30.0  # seconds after which a successor is given up
SETTLE = 20.0  # seconds in which everything must have come to rest

FLAGS = (
    *("--max-concurrent-count", str(LIMIT), "--start-burst", str(BURST), "--start-rate", str(RATE)),
    *("--ping-interval", str(PING_INTERVAL), "--ping-timeout", str(PING_TIMEOUT)),
    *("--hang-timeout", "5", "--lame-duck", "1", "--drain-deadline", "10", "--min-instances", "2"),
    # For custody.py.
    *("--allow-debug-header", "--log-format", "json"),
)


@dataclass(slots=True)
class Event:
    what: str
    at: float
    until: float  # for what lasts, when it was over; else `at`
    in_flight: int  # of all clients, when it happened
    victim: Victim | None  # None: what it hits is learned afterwards, if it hits anything
    replaced: float = 0.0  # seconds until a successor was ready, if there must be one
    starved: float = 0.0  # of which it had no CPU
    lost: list[Outcome] = field(default_factory=list)


class Chaos:
    def __init__(self, rig: Rig, load: SteadyLoad, seed: int) -> None:
        self.rig = rig
        self.load = load
        self.source = random.Random(seed)
        self.events: list[Event] = []
        self.refused: list[str] = []  # commands, and why
        self.actions: dict[str, tuple[int, Callable[[], Any]]] = {
            "worker": (4, self.kill_worker),
            "scaler": (2, self.kill_scaler),
            "environment": (3, self.kill_environment),
            "extension": (2, self.kill_extension),
            "app": (2, self.kill_app),
            "frozen environment": (2, self.freeze),
            "throttled invokes": (1, self.throttle),
            "failing invokes": (1, self.fail_invokes),
            "command": (3, self.command),
        }

    async def run(self, seconds: float, every: float) -> None:
        end = time.monotonic() + seconds
        names = list(self.actions)
        weights = [weight for weight, _ in self.actions.values()]
        # Each kind once, in some order, then as it comes.
        deck = self.source.sample(names, len(names))
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, every * self.source.uniform(0.6, 1.4)))
            if time.monotonic() >= end - RECOVERY:
                continue
            name = deck.pop() if deck else self.source.choices(names, weights)[0]
            await asyncio.to_thread(self.rig.remember)
            await self.actions[name][1]()

    def note(self, what: str, victim: Victim | None = None) -> Event:
        now = time.monotonic()
        event = Event(what, now, now, len(self.load.in_hand), victim)
        self.events.append(event)
        return event

    async def kill_worker(self) -> None:
        workers = await asyncio.to_thread(self.rig.workers)
        if not workers:
            return
        slot = self.source.choice(sorted(workers))
        pid = workers[slot]
        if not await asyncio.to_thread(custody.stop, pid):
            return
        has = await asyncio.to_thread(custody.connections, pid, self.rig.port)
        victim = Victim(f"worker {slot}, process {pid}", connections=has, worker=slot)
        known = set(workers.values())
        event = self.note(f"worker {slot}", victim)
        os.kill(pid, signal.SIGKILL)

        def successor() -> int:
            now = set(self.rig.workers().values())
            if pid not in now:
                victim.dead = min(victim.dead, time.monotonic())
            return next(iter(now - known), 0) if len(now) == self.rig.worker_count else 0

        await self._replaced(event, successor)

    async def kill_scaler(self) -> None:
        pid = await asyncio.to_thread(self.rig.scaler)
        event = self.note("scaler", Victim(f"scaler, process {pid}"))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            self.events.pop()
            return
        await self._replaced(event, lambda: now if (now := self.rig.scaler(b.WORKER_READY)) != pid else 0)

    async def _replaced(self, event: Event, successor: Callable[[], int]) -> None:
        end = event.at + PATIENCE
        while not (pid := await asyncio.to_thread(successor)) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        event.replaced = time.monotonic() - event.at
        event.starved = custody.waited(pid)

    async def _environment(self) -> Environment | None:
        found = await asyncio.to_thread(self.rig.environments)
        busy = [it for it in found if it.state == "busy" and it.instance]
        return self.source.choice(busy) if busy else None

    async def kill_environment(self) -> None:
        if it := await self._environment():
            self.note("environment", Victim(f"environment {it.id[:8]}", instance=it.instance))
            await asyncio.to_thread(self.rig.act, it.id, "kill")

    async def kill_extension(self) -> None:
        if it := await self._environment():
            self._kill("extension", it.extension, it.instance)

    async def kill_app(self) -> None:
        it = await self._environment()
        if it and it.app:
            self._kill("app", it.app, it.instance)

    def _kill(self, what: str, pid: int, instance: str) -> None:
        self.note(what, Victim(f"{what}, process {pid}", instance=instance))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            self.events.pop()

    async def freeze(self) -> None:
        """A black hole: its connections stand, nothing comes."""
        if it := await self._environment():
            event = self.note("frozen environment", Victim(f"environment {it.id[:8]}", instance=it.instance))
            await asyncio.to_thread(self.rig.act, it.id, "freeze")
            event.until = event.at + NOTICED
            await asyncio.sleep(NOTICED)
            await asyncio.to_thread(self.rig.act, it.id, "thaw")

    async def command(self) -> None:
        """What an operator may do at any time without a request noticing."""
        source = self.source
        seen = await asyncio.to_thread(self.rig.snapshot)
        opened = [it["id"] for it in seen["instances"] if it["state"] == "open"]
        for command in source.sample(
            [
                {"op": "limits", "min": source.randint(1, 4), "max": 40, "ttl": 4},
                {"op": "pause", "ttl": 2},
                {"op": "recycle", "max_unavailable": source.randint(1, 2)},
                {"op": "drain", "ttl": 1},
                {"op": "breaker"},
                {"op": "reload"},
                {"op": "drain-instance", "instance": source.choice(opened) if opened else "0" * 8},
            ],
            4,
        ):
            self.note(f"command {command['op']}")
            answer = await asyncio.to_thread(self.rig.command, **command)
            if not answer["ok"] and command["op"] != "drain-instance":
                self.refused.append(f"command {command} was refused: {answer['error']}")

    async def throttle(self) -> None:
        await self._with_knobs("throttled invokes", throttle_rate=0.5)

    async def fail_invokes(self) -> None:
        await self._with_knobs("failing invokes", crash_rate=0.5, crash_after="uniform:0-1")

    async def _with_knobs(self, what: str, **knobs: object) -> None:
        event = self.note(what)
        await asyncio.to_thread(self.rig.turn, **knobs)
        # One more that is missing, so that there are invokes.
        await self.kill_environment()
        await asyncio.sleep(2.0)
        await asyncio.to_thread(self.rig.turn, **dict.fromkeys(knobs, 0))
        event.until = time.monotonic() + (1.0 if "crash_rate" in knobs else 0.0)
        self.events[-1].until = event.until


@dataclass(slots=True)
class Verdict:
    problems: list[str]
    lines: list[str]
    late: list[str]  # recoveries that took too long: what a busy machine may do, too


def judge(chaos: Chaos) -> Verdict:
    """What the outcomes say about the events."""
    orphans = _attribute(chaos)
    problems, lines, late = [*orphans, *chaos.refused], [], []
    worst, worst_of = 0.0, ""
    starts = [event.at for event in chaos.events[1:]] + [float("inf")]
    for event, following in zip(chaos.events, starts, strict=True):
        slow = [
            outcome
            for outcome in chaos.load.outcomes
            if outcome.took > SLOW and not outcome.problem and outcome.began < following and event.at <= outcome.ended
        ]
        took = max((outcome.ended - event.until for outcome in (*slow, *event.lost)), default=0.0)
        took = max(0.0, took, event.replaced - event.starved)
        what = Counter(outcome.problem for outcome in event.lost)
        lines.append(
            f"{event.at - chaos.events[0].at:7.1f} s  {event.what:20} in flight {event.in_flight:3}  "
            f"lost {len(event.lost):3}  recovered in {took:.2f} s  "
            + ", ".join(f"{count} x {problem}" for problem, count in what.items())
            + (
                f"  replaced after {event.replaced:.2f} s, {event.starved:.2f} s of it without a CPU"
                * bool(event.replaced)
            )
            + (f"; held by {event.victim.name}" if event.lost and event.victim else "")
        )
        if took > worst:
            worst, worst_of = took, event.what
        if took > RECOVERY:
            late.append(f"{event.what}: recovered after {took:.2f} s")
        # That an instance is silent each worker notices by itself; the places of one that has are free for the others.
        most = LIMIT * (chaos.rig.worker_count if event.what == "frozen environment" else 1)
        if event.victim and event.victim.instance and len(event.lost) > most:
            problems.append(f"{event.what}: {len(event.lost)} requests lost; an instance can have had {most}")
    lines += _by_kind(chaos.events)
    lines.append(f"lost by no process that was killed: {len(orphans)}; worst recovery {worst:.2f} s ({worst_of})")
    return Verdict(problems, lines, late)


def _attribute(chaos: Chaos) -> list[str]:
    """Puts each lost request to the event that took the process that had it. Those that no process had."""
    failures = chaos.load.failures()
    trails = custody.trails(chaos.rig.log_file, {outcome.name for outcome in failures})
    hit = {custody.short(event.victim.instance) for event in chaos.events if event.victim}
    crashed = custody.ended_by_failure(chaos.rig.log_file) - hit
    orphans = []
    for outcome in failures:
        trail = trails[outcome.name]
        for event in reversed(chaos.events):
            if event.what == "failing invokes":
                victims = [Victim("an environment", instance=instance) for instance in crashed]
            else:
                victims = [event.victim] if event.victim else []
            if any(custody.held(victim, event.at, outcome, trail) for victim in victims):
                event.lost.append(outcome)
                break
        else:
            at = outcome.began - chaos.events[0].at if chaos.events else 0.0
            orphans.append(
                f"lost by no process: {outcome.problem} after {outcome.took:.3f} s, {at:.2f} s into it, "
                f"{outcome.name} from port {outcome.port}, sent to {trail.workers} {trail.instances}"
            )
    return orphans


def _by_kind(events: list[Event]) -> list[str]:
    kinds: dict[str, list[Event]] = {}
    for event in events:
        kinds.setdefault(event.what.rstrip(" 0123456789"), []).append(event)
    return [
        f"{kind:20} {len(those):3} times, {sum(len(event.lost) for event in those):3} requests lost"
        for kind, those in sorted(kinds.items())
    ]


async def at_rest(rig: Rig) -> list[str]:
    """Waits until nothing moves any more; what is not as it should be."""
    end = time.monotonic() + SETTLE
    while True:
        problems = await asyncio.to_thread(_restless, rig)
        if not problems or time.monotonic() > end:
            return problems
        await asyncio.sleep(0.25)


def _restless(rig: Rig) -> list[str]:
    seen = rig.snapshot()
    gauges = {f"worker {w['slot']} {name}": w[name] for w in seen["workers"] for name in ("queued", "running")}
    gauges |= {f"worker {w['slot']} connections": w["connections"] for w in seen["workers"]}
    for pool in seen["pools"]:
        gauges |= {f"pool {pool['pool']} {name}": pool[name] for name in ("queued", "in_flight")}
    for it in seen["instances"]:
        gauges[f"instance {it['id']} in_flight"] = it["in_flight"]
    # The floor's instances come and go; each that the router knows is an invoke that Lambda has open.
    living = sum(it["state"] in ("starting", "open", "draining") for it in seen["instances"])
    busy = sum(it["state"] != "idle" for it in rig.lambda_status()["environments"])
    problems = [f"{name} is {value}, not 0" for name, value in gauges.items() if value]
    if living != busy:
        problems.append(f"{living} instances on the board, {busy} environments at work")
    return problems


def books(seen: dict[str, Any], load: SteadyLoad) -> list[str]:
    """The board's counters beside what clients counted."""
    totals = seen["totals"]
    answered = load.answered
    failed = len(load.failures())
    problems = []
    if not answered <= totals["status_2xx"] <= answered + failed:
        problems.append(
            f"the board counted {totals['status_2xx']} answers 2xx, the clients {answered} (+{failed} lost)"
        )
    refused = sum(outcome.status >= 500 for outcome in load.outcomes)
    if totals["status_5xx"] < refused:
        problems.append(f"the board counted {totals['status_5xx']} answers 5xx, the clients {refused}")
    return problems


def decisions(rig: Rig) -> tuple[int, list[str]]:
    """How many decisions were recorded, and those that their own inputs do not lead to again."""
    with rig.board() as board:
        kept = board.list_decisions()
    again = ((it.number, differences(from_board(it))) for it in kept)
    return len(kept), [f"decision {number} comes out otherwise from its inputs: {it}" for number, it in again if it]


async def run(rig: Rig, seconds: float, every: float, seed: int, clients: int, per_second: float) -> Verdict:
    began = time.monotonic()
    async with SteadyLoad(rig.port, clients, per_second, seed, fields=custody.DEBUG) as load:
        chaos = Chaos(rig, load, seed)
        while load.answered < clients and time.monotonic() < began + 30:  # noqa: ASYNC110 - the load warms up
            await asyncio.sleep(0.05)
        began_chaos = time.monotonic()
        await chaos.run(seconds, every)
    verdict = judge(chaos)
    cold = [outcome for outcome in load.failures() if outcome.ended < began_chaos]
    verdict.problems += [f"failed before anything happened: {outcome.problem}" for outcome in cold]
    verdict.problems += (restless := await at_rest(rig))
    seen = await asyncio.to_thread(rig.snapshot)
    verdict.problems += books(seen, load)
    recorded, untrue = await asyncio.to_thread(decisions, rig)
    verdict.problems += untrue
    if not recorded:
        verdict.problems.append("no decision was recorded")
    invokes = (await asyncio.to_thread(rig.statistics))["invokes"]
    budget = BURST + RATE * (time.monotonic() - began)
    if invokes > budget:
        verdict.problems.append(f"{invokes} invokes; the budget was {budget:.0f}")
    times = sorted(outcome.took for outcome in load.outcomes if outcome.status == 200)
    verdict.lines += [
        f"{len(load.outcomes)} requests in {time.monotonic() - began:.0f} s, {load.answered} answered, "
        f"{len(load.failures())} lost in {len(chaos.events)} events; p50 {times[len(times) // 2] * 1000:.0f} ms, "
        f"p99 {times[len(times) * 99 // 100] * 1000:.0f} ms, worst {times[-1] * 1000:.0f} ms",
        f"{invokes} invokes of {budget:.0f} in the budget; resends {seen['totals']['resends']}, "
        f"through siblings {seen['totals']['dispatched_sibling']}; {recorded} decisions taken again from their inputs; "
        f"at the end: {'; '.join(restless) or 'gauges zero, as many instances on the board as environments at work'}",
    ]
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=6.0, help="seconds between two events, on average")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--per-second", type=float, default=8.0, help="requests of each client")
    parser.add_argument("--log", type=Path, help="keep the log of router and Lambda here")
    options = parser.parse_args()
    with Rig(options.workers, flags=FLAGS) as rig:
        verdict = asyncio.run(
            run(rig, options.seconds, options.every, options.seed, options.clients, options.per_second)
        )
        verdict.problems += verdict.late
        verdict.problems += [f"process {pid} is left" for pid in rig.close()]
        if options.log:
            shutil.copy(rig.log_file, options.log)
    print("\n".join(verdict.lines))
    for problem in verdict.problems:
        print(f"PROBLEM: {problem}")
    print("failed" if verdict.problems else "all as it should be")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
