from typing import Final, NamedTuple

BOARD_VERSION: Final[int]
MAX_WORKERS: Final[int]
MAX_INSTANCES: Final[int]
MAX_POOLS: Final[int]
POOL_NAME: Final[int]
BUCKETS: Final[int]
OUTCOMES: Final[int]
REASONS: Final[int]
WORDS: Final[int]
GRPC_STATUSES: Final[int]
DECISIONS: Final[int]
DECISION_INPUTS: Final[int]
LIVES: Final[int]
EXITS: Final[int]
CAUSES: Final[int]
DECISION_TEXT: Final[int]
OVERRIDES: Final[int]
OVERRIDE_WHO: Final[int]
OVERRIDE_REASON: Final[int]
NOT_USABLE: Final[int]
WORKER_FREE: Final[int]
WORKER_BOOTING: Final[int]
WORKER_READY: Final[int]
WORKER_DRAINING: Final[int]
WORKER_GONE: Final[int]
INSTANCE_FREE: Final[int]
INSTANCE_STARTING: Final[int]
INSTANCE_OPEN: Final[int]
INSTANCE_DRAINING: Final[int]
INSTANCE_CLOSED: Final[int]
POOL_FREE: Final[int]
POOL_ACTIVE: Final[int]
POOL_RETIRED: Final[int]
OVERRIDE_LIMITS: Final[int]
OVERRIDE_PAUSE: Final[int]
OVERRIDE_RECYCLE: Final[int]
OVERRIDE_BREAKER: Final[int]
OVERRIDE_INSTANCE: Final[int]
OVERRIDE_DRAIN: Final[int]
OVERRIDE_LOG_LEVEL: Final[int]
CLOSE_REQUESTED: Final[int]
SECRET_SHOWN: Final[int]
FEATURES_AT: Final[int]
SECRET_SIZE: Final[int]

NAME: Final[str]
COUNTERS: Final[tuple[str, ...]]
GAUGES: Final[tuple[str, ...]]
WORKER_STATES: Final[tuple[str, ...]]
INSTANCE_STATES: Final[tuple[str, ...]]
POOL_STATES: Final[tuple[str, ...]]
OVERRIDE_KINDS: Final[tuple[str, ...]]

class BoardError(Exception): ...

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
    exits: tuple[int, ...]
    decisions: tuple[int, ...]

class PoolTotals(NamedTuple):
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
    starting: int
    open: int
    draining: int
    closed: int
    in_flight: int
    idle: int

class Life(NamedTuple):
    number: int
    id: bytes
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

    def in_force(self, now: int) -> bool: ...

class Times(NamedTuple):
    counts: tuple[int, ...]
    sum_ns: int

class Numbers(NamedTuple):
    wait: Times
    service: Times
    total: Times
    cold_start: Times
    outcomes: tuple[int, ...]
    request_bytes: int
    response_bytes: int
    resends: int
    words: tuple[int, ...]
    grpc: tuple[int, ...]

def bucket_of(ns: int) -> int: ...
def bucket_bounds() -> list[float | None]: ...
