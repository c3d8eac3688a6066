from collections.abc import Collection
from typing import Final, NamedTuple, final

BOARD_VERSION: Final[int]
MAX_WORKERS: Final[int]
MAX_INSTANCES: Final[int]
MAX_POOLS: Final[int]
POOL_NAME: Final[int]
BUCKETS: Final[int]
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
CLOSE_REQUESTED: Final[int]

NAME: Final[str]
COUNTERS: Final[tuple[str, ...]]
GAUGES: Final[tuple[str, ...]]
WORKER_STATES: Final[tuple[str, ...]]
INSTANCE_STATES: Final[tuple[str, ...]]
POOL_STATES: Final[tuple[str, ...]]

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

def ring(fd: int) -> bool: ...
def make_bell() -> int: ...
def silence(fd: int) -> None: ...
def bucket_of(ns: int) -> int: ...
def bucket_bounds() -> list[int | None]: ...
def memory_file(size: int) -> int: ...

@final
class Board:
    @property
    def fd(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def instances(self) -> int: ...
    @property
    def pools(self) -> int: ...
    @property
    def worker(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def supervisor_pid(self) -> int: ...
    @property
    def created(self) -> int: ...
    @property
    def created_wall(self) -> int: ...
    @staticmethod
    def create(workers: int, instances: int = ..., pools: int = ...) -> Board: ...
    @staticmethod
    def attach(fd: int, worker: int = -1, readonly: bool = False) -> Board: ...
    def close(self) -> None: ...
    def reserve(self, slot: int, generation: int) -> bool: ...
    def reserve_last_resort(self, slot: int, generation: int, now: int) -> bool: ...
    def release(self, slot: int) -> None: ...
    def park(self, slot: int, generation: int) -> bool: ...
    def unpark(self, slot: int) -> None: ...
    def holder(self, slot: int) -> int: ...
    def sibling_with_slot(self, pool: int) -> int: ...
    def sibling_waiting(self, pool: int, since: int) -> int: ...
    def open_instance(self, slot: int, generation: int, now: int) -> bool: ...
    def begin_drain(self, slot: int, generation: int, goaway_at: int) -> bool: ...
    def hasten(self, slot: int, generation: int, goaway_at: int) -> bool: ...
    def request_close(self, slot: int, generation: int) -> bool: ...
    def close_instance(self, slot: int, generation: int, now: int) -> bool: ...
    def free_instance(self, slot: int, generation: int) -> bool: ...
    def allocate_instance(
        self, pool: int, id: bytes, limit: int, now: int, deadline: int
    ) -> tuple[int, int] | None: ...
    def adopt(self) -> None: ...
    def find_instance(self, id: bytes) -> tuple[int, int] | None: ...
    def instance(self, slot: int) -> Instance: ...
    def list_instances(self, pool: int = -1) -> list[Instance]: ...
    def pool_counts(self, pool: int) -> PoolCounts: ...
    def claim_pool(self, name: bytes, now: int) -> tuple[int, int] | None: ...
    def find_pool(self, name: bytes) -> tuple[int, int] | None: ...
    def retire_pool(self, pool: int, now: int) -> bool: ...
    def revive_pool(self, pool: int) -> bool: ...
    def free_pools(self, pools: Collection[int]) -> int | None: ...
    def pool_name(self, pool: int) -> bytes: ...
    def pool_totals(self, pool: int) -> PoolTotals: ...
    def start_worker(self, worker: int, listening: int, now: int) -> int: ...
    def reclaim(self, worker: int) -> bool: ...
    def start_scaler(self, now: int) -> int: ...
    def set_scaler_pid(self, pid: int) -> None: ...
    def set_worker_pid(self, worker: int, pid: int) -> None: ...
    def set_worker_state(self, worker: int, state: int) -> None: ...
    def worker_state(self, worker: int) -> int: ...
    def beat(self, now: int) -> None: ...
    def scaler_beat(self, now: int) -> None: ...
    def set_scaler_state(self, state: int) -> None: ...
    def publish_scaler(
        self,
        *,
        ticks: int,
        invokes: int,
        invokes_ended: int,
        invokes_failed: int,
        throttled: int,
        open_invokes: int,
        tokens_milli: int,
        breaker: int,
    ) -> None: ...
    def publish_pool(
        self,
        pool: int,
        *,
        desired: int,
        starting: int,
        open: int,
        draining: int,
        starts: int,
        starts_failed: int,
        ended: int,
        backoff_until: int,
        rate_milli: int,
        average_us: int,
        breaker: int,
        last_decision: int,
        last_exit: int,
    ) -> None: ...
    def set_pool_limits(
        self, pool: int, *, limit: int, channels: int, min_instances: int, max_instances: int
    ) -> None: ...
    def list_workers(self) -> list[Worker]: ...
    def worker_numbers(self, worker: int) -> dict[str, int]: ...
    def histograms(self, worker: int) -> tuple[list[int], list[int]]: ...
    def scaler_view(self) -> Scaler: ...
    def pool(self, pool: int) -> Pool: ...
    def list_pools(self) -> list[Pool]: ...
    def pick_from(self, mask: bytes, hint: int = -1) -> int: ...
    def in_flight_at(self, slot: int) -> int: ...
    def reserved_at(self, worker: int, slot: int) -> int: ...
    def idle_at(self, worker: int, slot: int) -> int: ...
    def generation(self, slot: int) -> int: ...
    def state(self, slot: int, generation: int) -> int: ...
