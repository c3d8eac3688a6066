"""One frozen snapshot of the board. `status`, its JSON document, Prometheus text and EMF are all written from it.

    view = take(board, time.monotonic_ns(), time.time_ns())

take() copies every number once; nothing here keeps the board open. Times in the view are seconds relative to the
moment of the snapshot, None where there is no such time. Ids of instances are secrets: the view holds the first four
bytes only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_dispatch.scaler.causes import CAUSES
from lambda_dispatch.scaler.verdict import EXIT_NAMES
from lambda_dispatch.telemetry.exemplars import Exemplars
from lambda_dispatch.telemetry.overrides import list_in_force
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

# PoolSlot.breaker, by its number. Everything that prints a breaker state uses these words.
BREAKER_STATES = ("closed", "half-open", "open")
BUDGETS = ("", "MaxCostPerHour spent", "MaxInvokesPerMinute spent")

# Quantiles that are published: the median, and the time that 1 % of the requests exceed.
QUANTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class ScalerView:
    pid: int
    state: str
    silent: float | None  # s since the last heartbeat
    open_invokes: int
    invokes: int
    invokes_ended: int
    invokes_failed: int
    throttled: int
    start_budget: float  # starts that the token bucket allows now
    breakers_open: int


@dataclass(frozen=True, slots=True)
class WorkerView:
    slot: int
    pid: int
    generation: int
    state: str
    listening: int
    uptime: float | None
    silent: float | None
    queued: int
    running: int
    oldest_queued: float | None
    numbers: Mapping[str, int]  # COUNTERS and GAUGES of board/layout


@dataclass(frozen=True, slots=True)
class PoolView:
    pool: int
    function: str
    state: str
    desired: int
    starting: int
    open: int
    draining: int
    closed: int
    in_flight: int
    idle_channels: int
    queued: int
    oldest_queued: float | None
    arrivals: int
    completions: int
    failures: int
    average_ms: float | None
    requests_per_second: float
    breaker: str
    backoff: float  # s until the next start is allowed
    starts: int
    starts_failed: int
    ended: int
    limit: int
    min_instances: int
    max_instances: int
    unused: float | None  # s since the last request asked for it
    predicted_wait: float  # s, of the next request
    open_seconds: float  # billed time of environments
    busy_seconds: float  # of that: with a request
    invokes: int
    cost_usd: float  # list price; 0 while FunctionMemoryMb is not set
    direct_seconds: float  # the same three, had Lambda itself dispatched the requests
    direct_invokes: int
    direct_cost_usd: float
    budget: str  # which one is spent; empty: none
    desired_raw: int  # what the demand alone asks for
    start_budget: float  # starts that its token bucket allows now
    billed_gb_seconds: float  # 0 while FunctionMemoryMb is not set
    max_cost_per_hour: float  # USD; 0 none
    frozen: int  # environments that should be frozen now
    target: int  # requests at once that an instance is staffed for by `adaptive`
    packs: int  # the fullest instance with fewer requests is used first; 0: the least busy one
    exits: Mapping[str, int]  # invokes that ended, by exit reason
    decisions: tuple[tuple[str, str, int], ...]  # direction, reason, how many
    numbers: b.Numbers  # what telemetry counts: histograms, outcomes, bytes


@dataclass(frozen=True, slots=True)
class InstanceView:
    slot: int
    id: str  # the first eight hex digits
    function: str
    state: str
    in_flight: int
    limit: int
    idle_channels: int
    channels: int
    requests: int
    age: float | None
    open_for: float | None
    left: float | None  # s until its invoke must have ended
    close_requested: bool
    created_ms: int  # ms since 1970
    opened_ms: int | None
    deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class TraceView:
    """What became of the requests that were recorded for traces; none where tracing is off."""

    sent: int = 0
    overwritten: int = 0  # in a worker's ring, before they were read
    dropped: int = 0  # because others waited for the collector
    refused: int = 0  # the collector was not there, or did not take them
    exemplars: Exemplars = Exemplars()


@dataclass(frozen=True, slots=True)
class View:
    pid: int
    taken_ms: int  # ms since 1970
    uptime: float | None
    scaler: ScalerView
    workers: tuple[WorkerView, ...]  # slots that a process has
    totals: Mapping[str, int]  # COUNTERS and GAUGES over all slots: free ones still hold what their workers counted
    wait: tuple[int, ...]  # requests per histogram bucket: time in the queue
    time: tuple[int, ...]  # the same: whole time
    nowhere: b.Numbers  # of requests that no function got: health checks, refused heads
    pools: tuple[PoolView, ...]
    instances: tuple[InstanceView, ...]
    overrides: tuple[Mapping[str, Any], ...]  # of operators, in force
    worker_starts: int = 0  # ever, over all slots
    lags: Mapping[int, b.Times] = field(default_factory=dict)  # by worker slot: how late its event loop came round
    reloaded: float = 0.0  # s since 1970: when a configuration was last taken
    reload_failed: bool = False
    admin_pid: int = 0  # of the process that looks, where that is the admin process
    git_hash: str = ""  # of the configuration, where that is known
    traces: TraceView = TraceView()

    def workers_in(self, state: str) -> int:
        return sum(worker.state == state for worker in self.workers)

    @property
    def active_pools(self) -> tuple[PoolView, ...]:
        return tuple(pool for pool in self.pools if pool.state == b.POOL_STATES[b.POOL_ACTIVE])

    def document(self) -> dict[str, Any]:
        """The document of `status --json`."""
        return {
            "pid": self.pid,
            "taken_ms": self.taken_ms,
            "uptime": self.uptime,
            "scaler": _dict(self.scaler),
            "workers": [_flat(worker, self.lags[worker.slot].counts) for worker in self.workers],
            "totals": dict(self.totals),
            "wait_ms": quantiles(self.wait),
            "time_ms": quantiles(self.time),
            "pools": [_shown(pool) for pool in self.pools],
            "instances": [_dict(instance) for instance in self.instances],
            "overrides": [dict(it) for it in self.overrides],
        }


def take(board: Board, now: int, wall: int) -> View:
    """`now` in monotonic ns, `wall` in ns since 1970."""
    totals: dict[str, int] = {}
    for slot in range(board.workers):
        for name, value in board.worker_numbers(slot).items():
            totals[name] = totals.get(name, 0) + value
    pools = board.list_pools()
    nowhere = board.numbers(board.pools)
    numbers = {pool.pool: board.numbers(pool.pool) for pool in pools}
    everything = (nowhere, *numbers.values())
    names = {pool.pool: pool.name.decode(errors="replace") for pool in pools}
    found = board.list_instances()
    by_pool: dict[int, list[b.Instance]] = {}
    for instance in found:
        by_pool.setdefault(instance.pool, []).append(instance)
    return View(
        pid=board.supervisor_pid,
        taken_ms=wall // 1_000_000,
        uptime=_ago(board.created, now),
        scaler=_scaler(board.scaler_view(), now),
        workers=tuple(_worker(board, it, now) for it in board.list_workers() if it.state != b.WORKER_FREE),
        totals=totals,
        wait=tuple(map(sum, zip(*(each.wait.counts for each in everything), strict=True))),
        time=tuple(map(sum, zip(*(each.total.counts for each in everything), strict=True))),
        nowhere=nowhere,
        pools=tuple(_pool(board, pool, by_pool.get(pool.pool, []), numbers[pool.pool], now) for pool in pools),
        instances=tuple(_instance(it, names, now, board.created_wall - board.created) for it in found),
        overrides=tuple(list_in_force(board, now)),
        worker_starts=sum(it.generation for it in board.list_workers()),
        lags={it.slot: board.lag(it.slot) for it in board.list_workers() if it.generation},
        reloaded=board.reloaded_wall / 1e9,
        reload_failed=board.reload_failed,
    )


def _shown(pool: PoolView) -> dict[str, Any]:
    fields = _dict(pool)
    numbers: b.Numbers = fields.pop("numbers")
    fields["decisions"] = _decisions(pool)
    for name, times in (("wait", numbers.wait), ("service", numbers.service), ("time", numbers.total)):
        fields[f"{name}_ms"] = quantiles(times.counts)
    fields["cold_start_ms"] = quantiles(numbers.cold_start.counts)
    return fields


def _decisions(pool: PoolView) -> dict[str, int]:
    """By direction alone."""
    found: dict[str, int] = {}
    for direction, _, count in pool.decisions:
        found[direction] = found.get(direction, 0) + count
    return found


def _flat(worker: WorkerView, lag: Sequence[int]) -> dict[str, Any]:
    fields = _dict(worker)
    fields["lag_ms"] = quantiles(lag)
    numbers = fields.pop("numbers")
    return {**fields, **numbers}


def _dict(it: Any) -> dict[str, Any]:
    """asdict() without its copies: every value here is immutable."""
    return {name: getattr(it, name) for name in it.__slots__}


def _ago(since: int, now: int) -> float | None:
    return round((now - since) / 1e9, 1) if since else None


def _scaler(scaler: b.Scaler, now: int) -> ScalerView:
    return ScalerView(
        pid=scaler.pid,
        state=b.WORKER_STATES[scaler.state],
        silent=_ago(scaler.heartbeat, now),
        open_invokes=scaler.open_invokes,
        invokes=scaler.invokes,
        invokes_ended=scaler.invokes_ended,
        invokes_failed=scaler.invokes_failed,
        throttled=scaler.throttled,
        start_budget=scaler.tokens_milli / 1000,
        breakers_open=scaler.breaker,
    )


def _worker(board: Board, worker: b.Worker, now: int) -> WorkerView:
    return WorkerView(
        slot=worker.slot,
        pid=worker.pid,
        generation=worker.generation,
        state=b.WORKER_STATES[worker.state],
        listening=worker.listening,
        uptime=_ago(worker.started, now),
        silent=_ago(worker.heartbeat, now),
        queued=worker.queued,
        running=worker.running,
        oldest_queued=_ago(worker.oldest_queued, now),
        numbers=board.worker_numbers(worker.slot),
    )


def _pool(board: Board, pool: b.Pool, instances: Sequence[b.Instance], numbers: b.Numbers, now: int) -> PoolView:
    totals = board.pool_totals(pool.pool)

    def count(state: int) -> int:
        return sum(instance.state == state for instance in instances)

    return PoolView(
        pool=pool.pool,
        function=pool.name.decode(errors="replace"),
        state=b.POOL_STATES[pool.state],
        desired=pool.desired,
        starting=count(b.INSTANCE_STARTING),
        open=count(b.INSTANCE_OPEN),
        draining=count(b.INSTANCE_DRAINING),
        closed=count(b.INSTANCE_CLOSED),
        in_flight=sum(instance.in_flight for instance in instances),
        idle_channels=sum(instance.idle for instance in instances),
        queued=totals.queued,
        oldest_queued=_ago(totals.oldest_queued, now),
        arrivals=totals.arrivals,
        completions=totals.completions,
        failures=totals.failures,
        average_ms=round(totals.duration_ns / totals.completions / 1e6, 2) if totals.completions else None,
        requests_per_second=pool.rate_milli / 1000,
        breaker=BREAKER_STATES[pool.breaker] if pool.breaker < len(BREAKER_STATES) else str(pool.breaker),
        backoff=max(0.0, round((pool.backoff_until - now) / 1e9, 1)),
        starts=pool.starts,
        starts_failed=pool.starts_failed,
        ended=pool.ended,
        limit=pool.limit,
        min_instances=pool.min_instances,
        max_instances=pool.max_instances,
        unused=_ago(totals.last_used, now),
        predicted_wait=pool.predicted_wait_us / 1e6,
        open_seconds=pool.open_ms / 1000,
        busy_seconds=pool.busy_ms / 1000,
        invokes=pool.invokes,
        cost_usd=pool.cost_nusd / 1e9,
        direct_seconds=pool.direct_ms / 1000,
        direct_invokes=pool.direct_invokes,
        direct_cost_usd=pool.direct_nusd / 1e9,
        budget=BUDGETS[pool.budget] if pool.budget < len(BUDGETS) else str(pool.budget),
        desired_raw=pool.desired_raw,
        start_budget=pool.tokens_milli / 1000,
        billed_gb_seconds=pool.billed_mb_ms / 1024_000,
        max_cost_per_hour=pool.max_cost_nusd / 1e9,
        frozen=pool.frozen,
        target=pool.target,
        packs=pool.packs,
        exits=dict(zip(EXIT_NAMES, pool.exits, strict=False)),
        decisions=tuple((*cause, count) for cause, count in zip(CAUSES, pool.decisions, strict=False)),
        numbers=numbers,
    )


def _instance(it: b.Instance, names: Mapping[int, str], now: int, epoch: int) -> InstanceView:
    return InstanceView(
        slot=it.slot,
        id=it.id.hex()[:8],
        function=names.get(it.pool, "?"),
        state=b.INSTANCE_STATES[it.state],
        in_flight=it.in_flight,
        limit=it.limit,
        idle_channels=it.idle,
        channels=it.channels,
        requests=it.requests,
        age=_ago(it.created, now),
        open_for=_ago(it.opened, now),
        left=round((it.deadline - now) / 1e9, 1) if it.deadline else None,
        close_requested=it.close_requested,
        created_ms=(it.created + epoch) // 1_000_000,
        opened_ms=(it.opened + epoch) // 1_000_000 if it.opened else None,
        deadline_ms=(it.deadline + epoch) // 1_000_000 if it.deadline else None,
    )


def has_opened(numbers: b.Numbers) -> bool:
    """Whether an instance of the pool has ever been open, at any worker: each that opens is counted once."""
    return any(numbers.cold_start.counts)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Upper bound in ms of the bucket that contains the quantile; None when nothing was counted."""
    least = share * sum(counts)
    seen = 0
    for count, bound in zip(counts, b.bucket_bounds(), strict=True):
        seen += count
        if count and seen >= least:
            return round((bound or 2.0**11) * 1e3, 6)
    return None


def quantiles(counts: Sequence[int]) -> dict[str, float | None]:
    found = {name: quantile(counts, share) for name, share in QUANTILES.items()}
    return {name: None if value is None else round(value, 3) for name, value in found.items()}
