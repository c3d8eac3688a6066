"""A scaler like Knative's autoscaler (KPA) with its defaults, as a rival; from its documentation and autoscaler.go.

Every 2 s: the average concurrency of the last 60 s over the target (70 % of an instance's slots), rounded up, is what
is wanted. If that of the last 6 s asks for twice what there is, it panics: then only the last 6 s count, and it never
scales in, until 60 s after the last time it was so. In one step at most a thousandfold out, and in by half. It leaves
zero as soon as a request waits (its activator), and goes to zero after 60 s without one and a grace of 30 s. Instances
stay open until it closes them.
"""

import math
from collections import deque

from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.world import World
from lambda_dispatch_core.board.board import INSTANCE_OPEN, INSTANCE_STARTING, Instance

TICK = 2.0
STABLE, PANIC = 60.0, 6.0
UTILISATION = 0.7
PANIC_THRESHOLD = 2.0
MOST_OUT, MOST_IN = 1000.0, 2.0  # per step
GRACE = 30.0  # s at zero demand before the last instance goes
SAMPLE = 0.1  # s between two looks at the concurrency


class Knative:
    def __init__(self, world: World, pool: int) -> None:
        self._world = world
        self._pool = pool
        self._target = max(1.0, world.limit * UTILISATION)
        self._seen: deque[tuple[float, int]] = deque()
        self._panics_since: float | None = None
        self._panic_most = 0
        self._zero_since: float | None = None
        self._next = 0.0

    def look(self) -> None:
        world = self._world
        now = world.now / NS
        world.take_ends(self._pool)
        totals = world.totals(self._pool)
        demand = totals.queued + totals.running
        self._seen.append((now, demand))
        while self._seen and now - self._seen[0][0] > STABLE:
            self._seen.popleft()
        instances = [i for i in world.instances(self._pool) if i.state in (INSTANCE_STARTING, INSTANCE_OPEN)]
        if now >= self._next or (demand and not instances):
            self._next = now + TICK
            self._decide(now, demand, instances)

    def _decide(self, now: float, demand: int, instances: list[Instance]) -> None:
        there = len(instances)
        stable, panic = self._average(now, STABLE), self._average(now, PANIC)
        most, least = max(1, math.ceil(MOST_OUT * max(1, there))), math.floor(there / MOST_IN)
        wanted = min(max(math.ceil(stable / self._target), least), most)
        soon = min(max(math.ceil(panic / self._target), least), most)
        if there and soon / there >= PANIC_THRESHOLD:
            self._panics_since = now
            self._panic_most = max(self._panic_most, there)
        elif self._panics_since is not None and now - self._panics_since > STABLE:
            self._panics_since, self._panic_most = None, 0
        if self._panics_since is not None:
            self._panic_most = max(self._panic_most, soon)
            wanted = self._panic_most
        if wanted == 0 and demand:
            wanted = 1
        if wanted > 0:
            self._zero_since = None
        else:
            if self._zero_since is None:
                self._zero_since = now
            if now - self._zero_since < GRACE and there:
                wanted = 1
        for _ in range(wanted - there):
            self._world.start(self._pool, True)
        opened = sorted((i.in_flight, i.opened, i.slot) for i in instances if i.state == INSTANCE_OPEN)
        for _, _, slot in opened[: max(0, there - wanted)]:
            self._world.let_go(self._pool, slot)

    def _average(self, now: float, window: float) -> float:
        """Over time: looks are closer together when the bell rings."""
        total = span = 0.0
        end = now
        for at, demand in reversed(self._seen):
            begin = max(at, now - window)
            total += demand * (end - begin)
            span += end - begin
            end = begin
            if at <= now - window:
                break
        return total / span if span else 0.0
