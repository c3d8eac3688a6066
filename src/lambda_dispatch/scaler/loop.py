"""The scaler's clock: every 100 ms, when the policy asks and when its bell rings, look at the board, decide, act."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping

from lambda_dispatch import prices
from lambda_dispatch.boot import Boot
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.function_name import parse
from lambda_dispatch.scaler import record as records
from lambda_dispatch.scaler.act import Actor, Api
from lambda_dispatch.scaler.configured import limits_of, schedule_of, scheduled
from lambda_dispatch.scaler.deadlines import HAND_OVER
from lambda_dispatch.scaler.fleet import BREAKER_NUMBERS, SLOW_START, Fleet, News
from lambda_dispatch.scaler.guard import Breaker, StartGuard
from lambda_dispatch.scaler.ledger import SPENT, Budget, Rate
from lambda_dispatch.scaler.model import START_TIMEOUT, TICK, Limits
from lambda_dispatch.scaler.observe import NS
from lambda_dispatch.scaler.overrides import Orders, orders
from lambda_dispatch.scaler.policies import policy_named
from lambda_dispatch.scaler.record import Record
from lambda_dispatch.scaler.schedule import Floor
from lambda_dispatch.scaler.step import Hold, Look, Step, conclude, living_counts, step
from lambda_dispatch.settings import Reader
from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.overrides import RouterOverrides
from lambda_dispatch_core.board import board as b

# A look that is wanted sooner than after a tick is no busy loop, however long the list of instances.
LEAST_REST = 10  # times the look before
# A bell that rings all the time does not become a busy loop, and requests of one instant are seen together.
AFTER_BELL = 0.005
# A retired pool's number is given to another function only when no request can still be on its way to it.
RETIREMENT = 60.0
# The scaler gets its signal when the workers have ended; what it still waits for are the answers to its invokes.
LAST_WAIT = 3.0


class Scaler:
    def __init__(
        self,
        boot: Boot,
        config: RouterConfig,
        board: b.Board,
        api: Api,
        callback_url: str,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.stopped = asyncio.Event()
        self.fleets: dict[int, Fleet] = {}
        self.stopping = False
        self._boot = boot
        self._config = config
        self._settings = Reader(boot.settings_fd, boot.settings_number)
        self._board = board
        self._clock = clock
        self._wall = wall  # for the schedule alone: it may step
        self._floors = schedule_of(config)
        self._floor: Floor | None = None  # of the schedule, as of the last look
        self._ending = False
        self._ticks = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        self._again = TICK  # s from the last look to the next
        self._deadline = float("inf")
        self._last = clock() / NS
        before = board.scaler_view()
        # What a predecessor had not spent, and has earned since it last beat.
        self._tokens: float | None = None
        self._overrides: dict[int, list[b.Override]] = {}  # by pool, as of the command `_commands`
        self._commands = 0
        self._router = RouterOverrides(board, config.log_level)
        if before.ticks:
            idle = max(0.0, (clock() - before.heartbeat) / NS)
            self._tokens = before.tokens_milli / 1000 + idle * config.start_rate
        call: dict[str, object] = {
            "DispatcherUrl": callback_url,
            "NumberOfChannels": config.channel_count,
            "NumberOfConnections": boot.workers,
        }
        if boot.certificate_sha256 and callback_url.startswith("https:"):
            call["CertificateSha256"] = boot.certificate_sha256
        self.actor = Actor(api, board, call, config.max_concurrent_count, clock, self._news)
        self.actor.invokes, self.actor.ended = before.invokes, before.invokes_ended
        self.actor.failed, self.actor.throttled = before.invokes_failed, before.throttled

    # -- time -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._board.adopt()
        self._loop.add_reader(self._boot.bell_fd, self._rung)
        self._tick()
        self._board.set_scaler_state(b.WORKER_READY)
        b.ring(self._boot.supervisor_bell_fd)

    def end(self) -> None:
        self._loop.remove_reader(self._boot.bell_fd)
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self.actor.tasks):
            task.cancel()

    def stop(self) -> None:
        """Starts nothing more, lets every instance go, and is over when their invokes are. Again: over at once."""
        if self.stopping:
            self.stopped.set()
            return
        self.stopping = True
        self._deadline = self._clock() / NS + min(LAST_WAIT, self._config.drain_deadline)
        self._board.set_scaler_state(b.WORKER_DRAINING)
        self._soon(0.0)

    def _rung(self) -> None:
        b.silence(self._boot.bell_fd)
        self._soon(AFTER_BELL)

    def _news(self) -> None:
        self._ring()
        self._soon(AFTER_BELL)

    def _soon(self, delay: float) -> None:
        at = self._loop.time() + delay
        if self._timer is None or at < self._next:
            self._schedule(at)

    def _schedule(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        began = time.monotonic()
        self.look()
        self._soon(rest(self._again, time.monotonic() - began))

    def _ring(self) -> None:
        for worker in self._board.list_workers():
            if worker.state not in (b.WORKER_FREE, b.WORKER_GONE) and worker.slot < len(self._boot.bells):
                b.ring(self._boot.bells[worker.slot])

    # -- one look ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        now_ns = self._clock()
        now = now_ns / NS
        self._board.scaler_beat(now_ns)
        self._ticks += 1
        self._router.look(now_ns)
        log.flush()
        if (news := self._settings.news()) is not None:
            self.apply(news.config)
        self._board.count_busy(min(now_ns - int(self._last * NS), NS))
        by_pool: dict[int, list[b.Instance]] = {}
        for seen in self._board.list_instances():
            if seen.state == b.INSTANCE_CLOSED:
                self._board.free_instance(seen.slot, seen.generation)
            else:
                by_pool.setdefault(seen.pool, []).append(seen)

        states = {worker.state for worker in self._board.list_workers()}
        self._ending = b.WORKER_DRAINING in states and not states & {b.WORKER_BOOTING, b.WORKER_READY}
        self._again = TICK
        changed = self._due(by_pool, now)
        for pool in self._board.list_pools():
            if pool.state != b.POOL_FREE:
                changed |= self._look_at(self._fleet(pool, now), pool, by_pool.get(pool.pool, []), now)
        if changed:
            self._ring()
        self._publish(now)
        self._last = now
        if self.stopping and (now >= self._deadline or not any(fleet.runs for fleet in self.fleets.values())):
            self.stopped.set()

    def apply(self, config: RouterConfig) -> None:
        """Takes a configuration, for the looks from now on."""
        self._config = config
        log.configure("scaler", config.log_level, config.log_format)
        self._router.configure(config.log_level)
        self._floors = schedule_of(config)
        for fleet in self.fleets.values():
            fleet.limits = limits_of(fleet.pool, config)
            fleet.ledger.rate, fleet.budget = rate_of(config), budget_of(config)
            bucket = fleet.guard.bucket
            bucket.available(self._clock() / NS)  # what was earned so far, was earned at the old rate
            bucket.burst, bucket.rate = config.start_burst, config.start_rate

    def _fleet(self, pool: b.Pool, now: float) -> Fleet:
        fleet = self.fleets.get(pool.pool)
        if fleet is None or fleet.generation != pool.generation:
            fleet = self.fleets[pool.pool] = new_fleet(pool, self._config, now, self._tokens)
            self._overrides.pop(pool.pool, None)
            self._show_limits(fleet, fleet.limits)
        return fleet

    def _show_limits(self, fleet: Fleet, limits: Limits) -> None:
        fleet.shown = limits
        self._board.set_pool_limits(
            fleet.pool,
            limit=self._config.max_concurrent_count,
            channels=self._config.channel_count,
            min_instances=limits.min_instances,
            max_instances=limits.max_instances,
        )

    def _orders(self, fleet: Fleet, pool: b.Pool, now: float) -> Orders:
        """What operators want of the pool. The board's overrides are read when a command has changed them."""
        if self._board.commands != self._commands:
            self._commands = self._board.commands
            self._overrides.clear()
        found = self._overrides.get(fleet.pool)
        if found is None:
            found = self._overrides[fleet.pool] = self._board.list_overrides(fleet.pool)
        result = orders(found, self._configured(fleet), pool.commands_taken, int(now * NS))
        if result.limits != fleet.shown:
            self._show_limits(fleet, result.limits)
        return result

    def _configured(self, fleet: Fleet) -> Limits:
        """What the configuration says for this moment."""
        if fleet.pool != 0 or self._floors is None:
            return fleet.limits
        wall = self._wall()
        floor = self._floors.at(wall)
        if self._floor is None or (floor.count, floor.entry) != (self._floor.count, self._floor.entry):
            self._floor = floor
            log.info("scheduled floor changed", pool=fleet.label, floor=floor.count, entry=floor.entry)
        return scheduled(fleet.limits, self._floors, wall, fleet.times.cold)

    def _due(self, by_pool: Mapping[int, list[b.Instance]], now: float) -> bool:
        """Has the moment to let a draining instance go come since the last look? Workers sleep until they are rung."""
        return any(
            seen.state == b.INSTANCE_DRAINING and self._last < seen.goaway_at / NS <= now
            for instances in by_pool.values()
            for seen in instances
        )

    def _look_at(self, fleet: Fleet, pool: b.Pool, instances: list[b.Instance], now: float) -> bool:
        """True when workers must be told."""
        totals = self._board.pool_totals(fleet.pool)
        leaving = self.stopping or fleet.function is None or pool.state == b.POOL_RETIRED
        wanted = self._orders(fleet, pool, now)
        look = Look(
            now=now,
            totals=totals,
            instances=instances,
            hold=Hold.LEAVING if leaving else wanted.hold,
            ending=self._ending,
            buddies=self._config.init_only_buddies,
            limits=wanted.limits,
            overrides=wanted.overrides,
            recycle=wanted.recycle,
            command=wanted.command,
            longest=fleet.longest(now, lambda: self._board.numbers(fleet.pool).service.counts),
        )
        done = step(fleet, look)
        if done.decision is not None:
            self._again = min(self._again, done.decision.look_again)
        if done.adopted:
            log.info("instances adopted", pool=fleet.label, count=fleet.desired)
        for news in done.news:
            tell(fleet, news)
        for run in done.commands.over:
            self.actor.end(fleet, run, None)
        started = spares = 0
        for order in done.commands.start:
            if not self.actor.start(fleet, order):
                break
            started += not order.spare
            spares += order.spare
        changed = False
        living = {seen.slot: seen for seen in done.living}
        for slot in done.commands.let_go:
            changed |= self._let_go(fleet, living[slot], now)
        for slot in done.commands.recycle:
            changed |= self._board.begin_drain(slot, living[slot].generation, int((now + HAND_OVER) * NS))
        record = conclude(fleet, done, started, changed)
        for slot in done.commands.spare:
            changed |= self._let_go(fleet, living[slot], now)
        if spares:
            log.info("frozen spares renewed", pool=fleet.label, count=spares, again_s=round(fleet.spares.period))
        if record is not None:
            records.to_board(record, self._board)
            tell_decision(fleet, done, record)
        self._retire(fleet, pool, totals, list(done.living), now)
        publish(self._board, fleet, living_counts(done.living), now)
        if wanted.command is not None:
            # The supervisor answers who gave the command when it sees this; more of them are taken up one by one.
            self._board.take_command(fleet.pool, wanted.command.number)
            b.ring(self._boot.supervisor_bell_fd)
            self._soon(AFTER_BELL)
        return changed

    def _let_go(self, fleet: Fleet, seen: b.Instance, now: float) -> bool:
        if seen.state == b.INSTANCE_OPEN and not seen.in_flight and self._board.in_flight_at(seen.slot) > 0:
            # It was chosen because it idled, and does no more. A WebSocket would be closed as soon as it is open.
            fleet.runs[seen.slot].asked = False
            return False
        at = int(now * NS)
        return self._board.begin_drain(seen.slot, seen.generation, at) or self._board.hasten(
            seen.slot, seen.generation, at
        )

    def _retire(self, fleet: Fleet, pool: b.Pool, totals: b.PoolTotals, living: list[b.Instance], now: float) -> None:
        """A pool of a name that somebody asked for once is not kept for ever. The configured function's is."""
        if fleet.pool == 0 or living or totals.queued or totals.running:
            return
        if pool.state == b.POOL_ACTIVE:
            if now - max(totals.last_used, pool.created) / NS > self._config.pool_idle_timeout:
                self._board.retire_pool(fleet.pool, int(now * NS))
        elif now - pool.retired / NS > RETIREMENT and self._board.free_pools([fleet.pool]):
            del self.fleets[fleet.pool]
            log.info("pool forgotten", pool=fleet.label)

    def _publish(self, now: float) -> None:
        guards = [fleet.guard for fleet in self.fleets.values()]
        tokens = min((guard.bucket.available(now) for guard in guards), default=self._config.start_burst)
        actor = self.actor
        self._board.publish_scaler(
            ticks=self._ticks,
            invokes=actor.invokes,
            invokes_ended=actor.ended,
            invokes_failed=actor.failed,
            throttled=actor.throttled,
            open_invokes=len(actor.tasks),
            tokens_milli=tokens * 1000,
            breaker=sum(guard.breaker is not Breaker.CLOSED for guard in guards),
        )


def rest(wanted: float, took: float) -> float:
    """s from a look that took so long to the next, which is wanted after so many."""
    return min(max(wanted, LEAST_REST * took), TICK)


def new_fleet(pool: b.Pool, config: RouterConfig, now: float, tokens: float | None) -> Fleet:
    """A pool's fleet; what an earlier scaler left of its numbers stands on the board."""
    guard = StartGuard(config.start_burst, config.start_rate, now, random.random)
    if tokens is not None:
        guard.bucket.spend_down_to(tokens)
    if pool.breaker:
        guard.restore_open(pool.backoff_until / NS)
    name = pool.name.decode("ascii", "replace")
    fleet = Fleet(
        pool.pool,
        pool.generation,
        "default" if pool.pool == 0 else name,
        parse(name),
        policy_named(config.scaling_algorithm),
        limits_of(pool.pool, config),
        guard,
    )
    fleet.ledger.rate, fleet.budget = rate_of(config), budget_of(config)
    fleet.ledger.resume(pool)
    fleet.target.learnt = pool.target
    fleet.rates.resume(pool.rate_milli / 1000, pool.average_us / 1000)
    fleet.starts, fleet.starts_failed, fleet.ended = pool.starts, pool.starts_failed, pool.ended
    fleet.decisions = list(pool.decisions[: len(fleet.decisions)])
    fleet.exits = list(pool.exits[: len(fleet.exits)])
    fleet.last_exit, fleet.last_decision = pool.last_exit, pool.last_decision / NS
    return fleet


def rate_of(config: RouterConfig) -> Rate:
    if not config.function_memory_mb:
        return Rate()
    cost = prices.load()
    gb = config.function_memory_mb / 1024
    return Rate(gb * cost["lambda_x86_gb_second"].value, cost["lambda_request"].value, gb)


def budget_of(config: RouterConfig) -> Budget:
    return Budget(config.max_cost_per_hour, config.max_invokes_per_minute)


def publish(board: b.Board, fleet: Fleet, counts: Mapping[int, int], now: float) -> None:
    rates = fleet.rates
    board.publish_pool(
        fleet.pool,
        desired=fleet.desired,
        starting=counts.get(b.INSTANCE_STARTING, 0),
        open=counts.get(b.INSTANCE_OPEN, 0),
        draining=counts.get(b.INSTANCE_DRAINING, 0),
        starts=fleet.starts,
        starts_failed=fleet.starts_failed,
        ended=fleet.ended,
        backoff_until=int(fleet.guard.not_before * NS) if fleet.guard.rounds else 0,
        rate_milli=int((rates.per_second or 0.0) * 1000),
        average_us=int((rates.mean_ms or 0.0) * 1000),
        breaker=BREAKER_NUMBERS[fleet.guard.breaker],
        last_decision=int(fleet.last_decision * NS),
        last_exit=fleet.last_exit,
    )
    ledger = fleet.ledger
    board.publish_demand(
        fleet.pool,
        desired_raw=fleet.desired_raw,
        tokens_milli=int(fleet.guard.bucket.available(now) * 1000),
        decisions=fleet.decisions,
        exits=fleet.exits,
        frozen=fleet.times.frozen(now),
        target=fleet.staffed_for,
        packs=fleet.packs,
    )
    board.publish_ledger(
        fleet.pool,
        predicted_wait_us=int(fleet.predicted_wait * 1e6),
        open_ms=int(ledger.open_s * 1000),
        busy_ms=int(ledger.busy_s * 1000),
        invokes=ledger.invokes,
        cost_nusd=int(ledger.usd * 1e9),
        direct_ms=int(ledger.direct_s * 1000),
        direct_invokes=ledger.direct_invokes,
        direct_nusd=int(ledger.direct_usd * 1e9),
        budget=SPENT[fleet.spent],
        billed_mb_ms=int(ledger.gb_s * 1024_000),
        max_cost_nusd=int(fleet.budget.usd_per_hour * 1e9),
    )


def tell(fleet: Fleet, news: News) -> None:
    if news is News.START_OVERDUE:
        log.limited(log.WARNING, "instance start overdue", pool=fleet.label, after_s=START_TIMEOUT)
    else:
        log.limited(
            log.WARNING,
            "instance start slow",
            pool=fleet.label,
            after_s=SLOW_START,
            check="whether Lambda answers, the application starts, and instances can reach the callback address",
        )


def tell_decision(fleet: Fleet, done: Step, record: Record) -> None:
    seen, decision, guard = done.seen, done.decision, fleet.guard
    assert seen is not None and decision is not None
    held: dict[str, object] = {}
    if record.held:
        held["denied"] = guard.denied or record.held
        if guard.last_failure:
            held["failure"] = guard.last_failure.value
    log.info(
        "decision",
        pool=fleet.label,
        desired=record.desired,
        change=decision.reason or "none",
        proposed=record.proposed,
        wanted=record.wanted,
        started=record.started,
        closed=record.closed,
        released=record.released,
        recycled=record.recycled,
        pending=seen.pending,
        running=seen.running,
        rps=round(seen.per_second or 0.0, 1),
        mean_ms=round(seen.mean_ms or 0.0, 1),
        instances=len(seen.instances),
        breaker=guard.breaker.value,
        **held,
    )
