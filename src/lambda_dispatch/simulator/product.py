"""This router's scaler, looking at the world instead of a board: step(), called as in scaler/loop.py."""

from random import Random

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.function_name import parse
from lambda_dispatch.scaler.configured import limits_of, schedule_of, scheduled
from lambda_dispatch.scaler.deadlines import HAND_OVER
from lambda_dispatch.scaler.fleet import Fleet
from lambda_dispatch.scaler.guard import StartGuard
from lambda_dispatch.scaler.policies import policy_named
from lambda_dispatch.scaler.record import Record
from lambda_dispatch.scaler.step import Look, conclude, step
from lambda_dispatch.scaler.verdict import Exit
from lambda_dispatch.simulator.requests import MONDAY, NS
from lambda_dispatch.simulator.world import World


class ProductScaler:
    """One router's. look() is called when World.advance() says so."""

    def __init__(self, world: World, pool: int, config: RouterConfig, seed: int) -> None:
        self.records: list[Record] | None = None  # a list: what the router would put into its ring of decisions
        self.begins = MONDAY  # s since 1970, of the world's time 0
        self._schedule = schedule_of(config)
        self._world = world
        self._pool = pool
        self._buddies = config.init_only_buddies
        self._fleet = Fleet(
            pool=pool,
            generation=1,
            label="default",
            function=parse(config.function_name),
            policy=policy_named(config.scaling_algorithm),
            limits=limits_of(0, config),
            guard=StartGuard(config.start_burst, config.start_rate, 0.0, Random(f"guard {pool} {seed}").random),
        )

    def follow(self, killed: "ProductScaler") -> None:
        """Takes up what a scaler that was killed has left on the board. The instances are seen at the next look."""
        before = killed._fleet.rates
        self._fleet.rates.resume(before.per_second or 0.0, before.mean_ms or 0.0)

    def look(self) -> None:
        world, fleet, pool = self._world, self._fleet, self._pool
        now = world.now / NS
        for seen, reason, at in world.take_ends(pool):
            run = fleet.runs.get(seen.slot)
            if run is not None and run.generation == seen.generation:
                fleet.end(run, seen, Exit(reason, requests=seen.requests), at / NS)
        limits = scheduled(fleet.limits, self._schedule, self.begins + now, fleet.times.cold)
        look = Look(
            now,
            world.totals(pool),
            world.instances(pool),
            buddies=self._buddies,
            limits=limits,
            longest=fleet.longest(now, lambda: world.service_counts(pool)),
        )
        done = step(fleet, look)
        started = 0
        for order in done.commands.start:
            place = world.start(pool, order.stays)
            if place is None:
                break
            fleet.began(*place, b"", now, order.stays, order.spare)
            started += not order.spare
            if order.buddy:
                world.warm()
                fleet.ledger.invoked(now)
        changed = False
        for slot in done.commands.let_go:
            changed |= world.let_go(pool, slot)
        for slot in done.commands.recycle:
            changed |= world.recycle(pool, slot, HAND_OVER)
        if done.decision is not None:
            world.look_in(pool, done.decision.look_again)
            world.pack(pool, fleet.packs)
        record = conclude(fleet, done, started, changed)
        for slot in done.commands.spare:
            world.let_go(pool, slot)
        if record is not None and self.records is not None:
            self.records.append(record)
