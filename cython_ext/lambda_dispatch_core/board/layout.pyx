"""Names and views for Python of what stands in board/layout.pxd."""

from typing import NamedTuple

from libc.stdint cimport int64_t

NAME = "lambda-dispatch-board"

# The counters of a worker slot from `requests` on, and the gauges after them, in their order there.
COUNTERS = (
    "requests", "status_1xx", "status_2xx", "status_3xx", "status_4xx", "status_5xx", "bad_requests", "heads_too_large",
    "bad_gateways", "rejected", "queue_timeouts", "clients_gone", "resends", "health_checks", "dispatched_local",
    "dispatched_sibling", "served_siblings", "accepted", "bytes_in", "bytes_out", "instance_bytes_in",
    "instance_bytes_out", "channels_parked", "instance_accepted", "slow_readers", "slow_senders", "connections_refused",
    "connections_reclaimed", "memory_narrowed", "memory_paused", "memory_refused",
    "upgrades_opened", "upgrades_by_client", "upgrades_by_application", "upgrades_by_router", "upgrades_broken",
    "upgrade_bytes_in", "upgrade_bytes_out", "grpc_opened", "grpc_by_client", "grpc_by_application", "grpc_by_router",
    "grpc_broken", "grpc_bytes_in", "grpc_bytes_out",
)
GAUGES = ("connections", "instance_connections", "idle_channels", "uploads_held", "handshakes", "memory_held",
          "upgrades_open", "connections_http2", "grpc_open")

WORKER_STATES = ("free", "booting", "ready", "draining", "gone")
INSTANCE_STATES = ("free", "starting", "open", "draining", "closed")
POOL_STATES = ("free", "active", "retired")
# Kinds of override, by number.
OVERRIDE_KINDS = ("limits", "pause", "recycle", "breaker", "instance", "drain", "log-level")


class BoardError(Exception):
    """The board cannot be used: not a board, or not of this version and size."""


class Instance(NamedTuple):
    slot: int
    generation: int
    id: bytes
    state: int
    pool: int
    limit: int
    in_flight: int
    idle: int
    channels: int
    requests: int
    created: int
    opened: int
    deadline: int
    goaway_at: int
    close_requested: bool
    busy_ns: int = 0


class Worker(NamedTuple):
    slot: int
    pid: int
    generation: int
    state: int
    listening: int
    heartbeat: int
    started: int
    queued: int
    running: int
    oldest_queued: int


class Scaler(NamedTuple):
    pid: int
    generation: int
    state: int
    breaker: int
    heartbeat: int
    started: int
    ticks: int
    invokes: int
    invokes_ended: int
    invokes_failed: int
    throttled: int
    open_invokes: int
    tokens_milli: int


class Pool(NamedTuple):
    pool: int
    generation: int
    name: bytes
    state: int
    created: int
    retired: int
    breaker: int
    desired: int
    starting: int
    open: int
    draining: int
    min_instances: int
    max_instances: int
    limit: int
    channels: int
    starts: int
    starts_failed: int
    ended: int
    backoff_until: int
    rate_milli: int
    average_us: int
    last_decision: int
    last_exit: int
    commands_taken: int
    predicted_wait_us: int
    open_ms: int
    busy_ms: int
    invokes: int
    cost_nusd: int
    direct_ms: int
    direct_invokes: int
    direct_nusd: int
    budget: int
    desired_raw: int
    tokens_milli: int
    billed_mb_ms: int
    max_cost_nusd: int
    frozen: int
    target: int
    packs: int
    exits: tuple
    decisions: tuple


class PoolTotals(NamedTuple):
    """What all workers together say of one pool; counters never go back."""

    queued: int
    running: int
    oldest_queued: int
    arrivals: int
    completions: int
    duration_ns: int
    wait_ns: int
    last_used: int
    failures: int


class PoolCounts(NamedTuple):
    """Instances of one pool by state, and what they have to do."""

    starting: int
    open: int
    draining: int
    closed: int
    in_flight: int
    idle: int


class Life(NamedTuple):
    """An instance that has ended."""

    number: int
    id: bytes  # the first bytes
    pool: int
    asked: int
    opened: int
    ended: int
    requests: int
    busy_ns: int
    reason: int
    let_go: bool


class Decision(NamedTuple):
    number: int
    at: int
    pool: int
    before: int
    desired: int
    proposed: int
    wanted: int
    started: int
    closed: int
    released: int
    pending: int
    running: int
    starting: int
    open: int
    draining: int
    breaker: int
    min_instances: int
    max_instances: int
    rate_milli: int
    mean_us: int
    held: str
    policy: int
    stay: int
    overrides: int
    inputs: tuple[float, ...]
    command: int
    recycled: int
    who: str
    why: str


class Override(NamedTuple):
    kind: int
    number: int
    at: int
    until: int
    ended: int
    pool: int
    generation: int
    first: int
    second: int
    who: str
    reason: str

    def in_force(self, now):
        return not self.ended and (self.until == 0 or now < self.until)


class Times(NamedTuple):
    """A histogram: how many times fell in each bucket, and their sum in ns."""

    counts: tuple
    sum_ns: int


class Numbers(NamedTuple):
    """What all workers counted of one pool."""

    wait: Times
    service: Times
    total: Times
    cold_start: Times
    outcomes: tuple
    request_bytes: int
    response_bytes: int
    resends: int
    words: tuple
    grpc: tuple


def bucket_of(int64_t ns):
    return time_bucket(ns)


def bucket_bounds():
    """Upper bound (inclusive, seconds) of each bucket of a histogram; the last has none and is given as None."""
    return [2.0 ** (n / 4.0 + LOWEST) for n in range(BUCKETS - 1)] + [None]
