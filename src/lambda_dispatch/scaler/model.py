"""What the scaler's policies see and say: values, no behaviour. Times are seconds of one monotonic clock."""

from dataclasses import dataclass
from enum import StrEnum

# Lambda gives an environment 10 s to initialise and the extension may wait as long again for the app. Later than this
# an instance is not expected any more; it may still open.
START_TIMEOUT = 30.0
TICK = 0.1  # s between two looks, at most
UNKNOWN = 0.25  # s, a request's time while none has been seen

LEARNT = -1  # a target that is not given but learnt: TargetConcurrency=auto


class State(StrEnum):
    STARTING = "starting"
    OPEN = "open"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Instance:
    slot: int
    state: State
    since: float  # start, as long as it is starting; else when it opened
    in_flight: int = 0
    goaway_at: float | None = None  # draining: when its idle channels are closed
    stays: bool = False  # it was asked to stay when idle


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one pool."""

    now: float
    pending: int  # requests that wait, in all workers
    running: int  # requests in the hands of instances
    recent: int  # of those, on average over the last second, rounded up
    idle_for: float  # s since any request waited, ran or arrived
    per_second: float | None  # requests; None while not known
    mean_ms: float | None  # from dispatch to the last byte; None while not known
    instances: tuple[Instance, ...] = ()
    ends_idle: bool = False  # the last instance that was to stay when idle did not
    arriving: float = 0.0  # requests per second that the last second, or less, shows in both of its halves
    growing: float = 0.0  # ... and by how much more in each second
    cold: float = 2.0  # s until an instance opens in a new environment, as learnt
    thaw: float = 0.1  # ... in a frozen one
    frozen: int = 0  # environments that should be frozen now, and serve the next starts
    leaving: int = 0  # requests in the hands of instances that drain
    takes_ms: float | None = None  # as mean_ms, but known from the first answer on, and never forgotten
    under_way: float = 0.0  # s that the starts have taken so far, all together; each as long as one takes at most
    late: int = 0  # starts that are cold while environments are frozen; not in under_way

    def count(self, state: State) -> int:
        return sum(instance.state is state for instance in self.instances)


@dataclass(frozen=True, slots=True)
class Limits:
    """The part of the configuration that decisions depend on."""

    max_concurrent: int
    multiplier: int
    min_instances: int = 0
    max_instances: int = 1000
    target: int = 0  # requests at once that `adaptive` staffs an instance for; 0: max_concurrent, LEARNT: not given
    buffer: int = 0  # instances that `adaptive` keeps beyond the need while requests come
    spares: int = 0  # environments that are kept frozen
    pinned: int = -1  # the desired count that an operator holds; -1: demand decides
    scheduled: bool = False  # min_instances is what MinInstancesSchedule asks for now

    @property
    def bounds(self) -> tuple[int, int]:
        """Between which the desired count may be. What is pinned is missing like a floor, and replaced."""
        if self.pinned < 0:
            return self.min_instances, self.max_instances
        count = min(max(self.pinned, self.min_instances), self.max_instances)
        return count, count


@dataclass(frozen=True, slots=True)
class Decision:
    desired: int
    proposed: int
    start: int = 0  # instances wanted; the guard says how many of them now
    stay: int = 0  # of those, the first ones are to stay when idle
    close: tuple[int, ...] = ()  # slots to drain, least busy first
    release: tuple[int, ...] = ()  # draining slots that need not wait any longer
    reason: str = ""  # why desired changed; empty when it did not
    raw: int = 0  # what the demand alone asks for, whatever the limits
    look_again: float = TICK  # s until the next look, at most
    packs: int = 0  # the fullest instance with fewer requests is used first; 0: the least busy one
