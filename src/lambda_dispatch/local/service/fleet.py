"""All environments of the embedded Lambda: which one an invoke gets, and when there is none to have."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from lambda_dispatch.local.environment.environment import Environment, State
from lambda_dispatch.local.environment.process import Guard
from lambda_dispatch.local.environment.runtime_api import RuntimeApi
from lambda_dispatch.local.function import Function
from lambda_dispatch.local.invocation import Invocation
from lambda_dispatch.local.knobs import Knobs
from lambda_dispatch.local.service.service_error import ServiceError, throttled

BURST_PERIOD = 10.0  # seconds in which a function may add `burst` environments


@dataclass(slots=True)
class Counts:
    """Of one function since the start; what a bill and a comparison need."""

    invokes: int = 0
    errors: int = 0
    throttles: int = 0
    cold_starts: int = 0
    busy: int = 0
    busy_peak: int = 0
    billed_ms: int = 0


class Pool:
    """One function and its environments."""

    def __init__(self, function: Function, burst: int) -> None:
        self.function = function
        self.environments: dict[str, Environment] = {}
        self.idle: list[Environment] = []  # the one used last is at the end, and is used first
        self.counts = Counts()
        self._tokens = float(burst)
        self._filled = 0.0

    def take_token(self, now: float, burst: int) -> bool:
        self._tokens = min(float(burst), self._tokens + (now - self._filled) * burst / BURST_PERIOD)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Fleet:
    def __init__(
        self,
        functions: Iterable[Function],
        knobs: Knobs,
        guard: Guard,
        write_log: Callable[[Environment, str, str], None],
    ) -> None:
        self.knobs = knobs
        self.pools = {function.name: Pool(function, knobs.burst) for function in functions}
        self._guard = guard
        self._write_log = write_log
        self._ports: set[int] = set()
        self._reapers: dict[str, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        self._leaving: set[Environment] = set()  # gave their place to another, still shutting down
        self._closing = False

    def invoke(self, pool: Pool, invocation: Invocation) -> None:
        """Hands the invoke to an environment at once, or raises the throttle Lambda would answer with."""
        if self._closing:
            raise ServiceError(503, "ServiceUnavailableException", "the embedded Lambda is stopping")
        try:
            environment = self._acquire(pool, invocation.tenant)
        except ServiceError:
            pool.counts.throttles += 1
            raise
        counts = pool.counts
        counts.invokes += 1
        counts.busy += 1
        counts.busy_peak = max(counts.busy_peak, counts.busy)
        invocation.finished.add_done_callback(lambda _: self._account(pool, invocation))
        environment.serve(invocation)

    def environments(self) -> list[Environment]:
        """Those that have a place; the ones leaving are not among them."""
        return [environment for pool in self.pools.values() for environment in pool.environments.values()]

    def find(self, prefix: str) -> list[Environment]:
        return [environment for environment in self.environments() if environment.id.startswith(prefix)]

    async def close(self) -> None:
        self._closing = True
        for timer in self._reapers.values():
            timer.cancel()
        self._reapers.clear()
        ends = [environment.stop() for environment in (*self.environments(), *self._leaving)]
        if ends:
            await asyncio.wait(ends)

    def statistics(self) -> dict[str, Any]:
        return {
            name: {
                **asdict(pool.counts),
                "environments": len(pool.environments),
                "idle": len(pool.idle),
                "starting": sum(
                    environment.state in (State.STARTING, State.INITIALIZING)
                    for environment in pool.environments.values()
                ),
            }
            for name, pool in self.pools.items()
        }

    # which environment

    def _acquire(self, pool: Pool, tenant: str | None) -> Environment:
        knobs, function = self.knobs, pool.function
        if knobs.throttle_rate and knobs.random.random() < knobs.throttle_rate:
            raise throttled("CallerRateLimitExceeded")
        if function.concurrency is not None and pool.counts.busy >= function.concurrency:
            raise throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        if function.managed:
            busy = [each for each in pool.environments.values() if each not in pool.idle]
            with_room = [each for each in busy if each.tenant == tenant and each.has_room()]
            if with_room:
                return max(with_room, key=lambda each: len(each.invokes))
        for environment in reversed(pool.idle):
            if environment.tenant == tenant and environment.has_room():
                pool.idle.remove(environment)
                self._keep(environment)
                return environment
        if function.port is not None and pool.environments:
            raise throttled("ReservedFunctionConcurrentInvocationLimitExceeded")  # one port, one environment
        if not self._has_room() and not self._make_room():
            raise throttled("ConcurrentInvocationLimitExceeded")
        if not pool.take_token(self._loop.time(), knobs.burst):
            raise throttled("ConcurrentInvocationLimitExceeded")
        return self._create(pool, tenant)

    def _create(self, pool: Pool, tenant: str | None) -> Environment:
        def idle(environment: Environment) -> None:
            if self._closing:
                return
            pool.idle.append(environment)
            self._reapers[environment.id] = self._loop.call_later(
                self.knobs.idle_timeout, self._reap, pool, environment
            )

        def gone(environment: Environment) -> None:
            pool.environments.pop(environment.id, None)
            if environment in pool.idle:
                pool.idle.remove(environment)
            self._leaving.discard(environment)
            self._keep(environment)

        environment = Environment(
            pool.function, self.knobs, self._guard, self._ports, RuntimeApi, self._write_log, idle, gone, tenant
        )
        pool.environments[environment.id] = environment
        pool.counts.cold_starts += 1
        return environment

    def _has_room(self) -> bool:
        # One that is shutting down takes no invoke and so does not count, as long as that stays an exception: functions
        # that crash at once would otherwise pile up processes.
        stopping = sum(environment.state is State.STOPPING for environment in self.environments()) + len(self._leaving)
        places = len(self.environments()) + len(self._leaving) - stopping
        return places < self.knobs.concurrency and stopping <= self.knobs.concurrency

    def _make_room(self) -> bool:
        """Gives up the idle environment of another function that waited longest; its place is free at once."""
        for other in self.pools.values():
            if other.idle:
                environment = other.idle.pop(0)
                other.environments.pop(environment.id, None)
                self._keep(environment)
                self._leaving.add(environment)
                environment.stop()
                return True
        return False

    def _reap(self, pool: Pool, environment: Environment) -> None:
        if environment in pool.idle:
            pool.idle.remove(environment)
            environment.stop()
        self._reapers.pop(environment.id, None)

    def _keep(self, environment: Environment) -> None:
        timer = self._reapers.pop(environment.id, None)
        if timer is not None:
            timer.cancel()

    def _account(self, pool: Pool, invocation: Invocation) -> None:
        counts = pool.counts
        counts.busy -= 1
        counts.billed_ms += invocation.billed_ms
        if invocation.answer.done() and invocation.answer.result().error is not None:
            counts.errors += 1
