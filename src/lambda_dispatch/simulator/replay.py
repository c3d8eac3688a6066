"""A recording of a live router's decisions: are they still the same, and what load do they tell?

The recording is what the admin port answers at /api/v1/decisions, as it is: an object with `decisions`. Each decision
has the inputs of its policy, so it can be taken again, exactly. The requests themselves are not in it. They are made
again: arrivals by chance at the rate that the decisions saw, which changes evenly from one decision to the next, with
their mean time. So costs of other settings are estimates; those of the recorded setting, played the same way, say how
good they are.
"""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from lambda_dispatch.scaler.policies import POLICIES, policy_named, policy_numbered
from lambda_dispatch.scaler.record import SEEN, Record, differences
from lambda_dispatch.simulator.requests import NS, Requests

SPREAD = 0.5  # sigma of the log-normal service times; only their mean is recorded


class ReplayError(ValueError):
    """The recording cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    records: tuple[Record, ...]  # of one pool, oldest first

    @property
    def seconds(self) -> float:
        return self.records[-1].at - self.records[0].at


def read(path: Path, pool: int | None = None) -> Recording:
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ReplayError(f"{path} is no JSON: {error}") from error
    rows = found.get("decisions") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not rows:
        raise ReplayError(f"{path} has no decisions; save what the admin port answers at /api/v1/decisions?limit=2048")
    records = [_record(row, path, number) for number, row in enumerate(rows)]
    pools = sorted({record.pool for record in records})
    if pool is None and len(pools) > 1:
        raise ReplayError(f"{path} has decisions of the pools {', '.join(map(str, pools))}; choose one with --pool")
    mine = sorted((r for r in records if pool is None or r.pool == pool), key=lambda record: record.at)
    if len(mine) < 2:
        raise ReplayError(f"{path} has {len(mine)} decisions of pool {pool}; there must be two or more")
    return Recording(tuple(mine))


def _record(row: object, path: Path, number: int) -> Record:
    where = f"{path}, decision {number}"
    if not isinstance(row, Mapping):
        raise ReplayError(f"{where}: {row!r} is no object")
    inputs, memory, policy = row.get("inputs"), row.get("memory"), row.get("policy")
    if not isinstance(inputs, Mapping) or not isinstance(memory, list):
        raise ReplayError(f"{where} has no inputs and memory: an earlier version recorded it")
    if policy not in [it.name for it in POLICIES]:
        raise ReplayError(f"{where}: there is no policy {policy!r} in this version")
    for name in SEEN:
        if name not in inputs:
            raise ReplayError(f"{where} has no input {name}: another version recorded it")

    def whole(name: str) -> int:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ReplayError(f"{where}: {name} is {value!r}, not a whole number")
        return value

    # A pool that never had a request has been idle for ever.
    numbers = [
        math.inf if name == "idle_for" and inputs[name] is None else _number(inputs[name], where, name) for name in SEEN
    ]
    return Record(
        at=numbers[0],
        pool=whole("pool"),
        policy=policy_named(str(policy)).number,
        before=whole("before"),
        desired=whole("desired"),
        proposed=whole("proposed"),
        wanted=whole("wanted"),
        stay=whole("stay"),
        started=whole("started"),
        closed=whole("closed"),
        released=whole("released"),
        breaker=0,
        held=str(row.get("held", "")),
        inputs=(*numbers, *(_number(value, where, "memory") for value in memory)),
    )


def _number(value: Any, where: str, name: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReplayError(f"{where}: {name} is {value!r}, not a number")
    return float(value)


def changed(recording: Recording) -> int:
    """How many of the decisions this version would take differently."""
    return sum(bool(differences(record)) for record in recording.records)


def setting_of(recording: Recording, slots: int) -> str:
    """The policy and options of the last decision, as `--policies` takes them for instances of so many slots."""
    last = recording.records[-1]
    name = policy_numbered(last.policy).name
    if name == "adaptive":
        options = {"TargetConcurrency": min(last.seen("target"), slots), "BufferInstances": last.seen("buffer")}
    else:
        options = {"InstanceCountMultiplier": last.seen("multiplier")}
    options |= {"MinInstances": last.seen("min_instances"), "MaxInstances": last.seen("max_instances")}
    return ":".join((name, *(f"{option}={value:.0f}" for option, value in options.items())))


def requests_of(recording: Recording, seed: int) -> Requests:
    """Requests like those that the decisions saw."""
    chance = Random(f"replay {seed}")
    first = recording.records[0].at
    points = _rates(recording.records)
    arrive, takes = array("q"), array("q")
    for (begin, low, ms), (end, high, _) in zip(points, points[1:], strict=False):
        most = max(low, high)
        if most <= 0:
            continue
        at = begin
        mu = math.log(max(ms, 1e-3) / 1000) - SPREAD * SPREAD / 2
        while (at := at + chance.expovariate(most)) < end:
            if chance.random() * most < low + (high - low) * (at - begin) / (end - begin):
                arrive.append(int((at - first) * NS))
                takes.append(max(1, int(chance.lognormvariate(mu, SPREAD) * NS)))
    if not arrive:
        raise ReplayError("the recording has no decision that saw requests; there is nothing to play")
    return Requests(arrive, takes)


def _rates(records: Sequence[Record]) -> list[tuple[float, float, float]]:
    """(s, requests per second, mean ms) of each decision. Where the rate was not known yet, it is the demand over the
    mean time; a mean that was not known is the next that was."""
    means = [record.seen("mean_ms") for record in records]
    known = [mean for mean in means if mean == mean and mean > 0]
    if not known:
        raise ReplayError("the recording has no decision that knew how long requests take")
    later = known[-1]
    for place in range(len(means) - 1, -1, -1):
        mean = means[place]
        later = means[place] = mean if mean == mean and mean > 0 else later
    points: list[tuple[float, float, float]] = []
    for record, mean in zip(records, means, strict=True):
        rate = record.seen("per_second")
        demand = record.seen("pending") + record.seen("running")
        if rate != rate:
            rate = demand / mean * 1000
        if record.seen("idle_for") > 1 and not demand:
            rate = 0.0
        if points and record.at <= points[-1][0]:
            continue
        if points and record.before == 0 and points[-1][1] > 0 and record.at - points[-1][0] > 1:
            # It was at zero: the traffic before this decision ended with the one before it.
            points.append((record.at - 0.1, 0.0, mean))
        points.append((record.at, rate, mean))
    return points
