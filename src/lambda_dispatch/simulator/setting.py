"""The world that every policy is tried in: what the environments, the account and the application are like."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Self

from lambda_dispatch.simulator.distributions import Distribution
from lambda_dispatch.simulator.service import Service


def _constant(seconds: float) -> Distribution:
    return Distribution("constant", (seconds,))


@dataclass(frozen=True, slots=True)
class Setting:
    """Times in seconds."""

    slots: int = 10  # requests at once in an environment
    cold: Distribution = field(default_factory=lambda: _constant(2.0))  # from invoke to open: a new environment
    thaw: Distribution = field(default_factory=lambda: _constant(0.05))  # the same: a frozen one
    warm: Distribution = field(default_factory=lambda: _constant(300.0))  # for which Lambda keeps a frozen one
    idle_exit: float = 0.25  # without requests, after which an instance ends by itself
    life: float = 885.0  # of an invoke: Lambda's 900 less what the extension leaves
    concurrency: int = 1000  # invokes of the account at once
    burst: float = 1000.0  # new environments at once ...
    per_second: float = 100.0  # ... and more per second
    routers: int = 1
    share: float = 0.0  # of a request's time on the CPU
    cpus: float = 1.0  # of an environment
    frozen: int = 0  # environments that are frozen at the beginning
    failing: float = 0.0  # of all starts
    ends_idle: bool = False  # the extension does not know the request to stay when idle
    queue_timeout: float = 120.0
    queue_limit: int = 0  # 0: none
    tail: float = 90.0  # after the last request, for instances to end
    memory_mb: int = 1769
    seed: int = 1

    def service(self) -> Service:
        def draw(name: str, distribution: Distribution) -> Callable[[], float]:
            return distribution.sampler(Random(f"{name} {self.seed}"))

        made = Service(
            draw("cold", self.cold),
            draw("thaw", self.thaw),
            draw("warm", self.warm),
            self.concurrency,
            self.burst,
            self.per_second,
        )
        made.keep_frozen(self.frozen)
        return made

    def fails(self) -> Callable[[], bool] | None:
        if not self.failing:
            return None
        chance = Random(f"failing {self.seed}")
        return lambda: chance.random() < self.failing

    def seeded(self, seed: int) -> Self:
        return replace(self, seed=seed)
