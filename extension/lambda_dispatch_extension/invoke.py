"""One invoke, from its payload to its exit reason: the one owner of its connections and channels.

    dial ─> park every channel ─> serve ─┬─ idle, deadline: ask the router to close, serve until it has answered
                                         ├─ go-away, 409: stop parking, finish what is in flight
                                         ├─ a broken channel, the only connection lost, another status: end within 2 s
                                         ├─ one of several connections lost: replaced, its channels parked again
                                         └─ shutdown: give back what is parked, finish what 200 ms allow

Nothing here runs per request. Channels call the on_ methods for rare events, from within a read; every TICK the clock
checks their Ledger.
"""

import os
import time
from collections.abc import Awaitable, Callable

from lambda_dispatch_extension import exits
from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.channel import Channel
from lambda_dispatch_extension.dialer import Dialer, Unreachable
from lambda_dispatch_extension.log import say, say_limited, say_suppressed, short
from lambda_dispatch_extension.loop import Event, Task, ensure_future, timeout
from lambda_dispatch_extension.options import Options
from lambda_dispatch_extension.payload import Invocation
from lambda_dispatch_extension.router_link import Ledger, RouterLink
from lambda_dispatch_net.wire import Hub

TICK = 0.1  # s
PING_EVERY = 5.0  # s
PING_PATIENCE = 5.0  # s without an answer to a ping: the router is gone
ACCEPT_PATIENCE = 5.0  # s until the router has taken the first channel
FAREST_DEADLINE = 900.0  # s, Lambda's longest invocation; more can only come from a test tool ...
TEST_DEADLINE = 60.0  # s ... and is taken as this
STALE_AFTER = 5.0  # s
LAST_SECOND = 1.0  # s before the deadline at which everything is cut, so that the invoke is still answered
AFTER_FAULT = 1.0  # s that requests in flight have when the router or the application is lost
RELEASE_PATIENCE = 0.5  # s that parked channels wait for the router's go-away once it knows that we are closing
# A router that closes an instance which lived longer waits for its replacement first (protocol.md section 3).
LONG_LIVED, REPLACEMENT_SHARE, REPLACEMENT_MOST = 10.0, 0.1, 5.0
REPLACED_MOST = 20  # connections replaced in one invoke; a router that loses more is broken
NEVER = float("inf")
# A close for idleness is void when a request has been sent here meanwhile. The original router closes all the same.
IF_IDLE = ((b"x-lambda-dispatch-if-idle", b"1"),)
IN_USE = 412


def random_uuid() -> str:
    """A version 4 UUID (RFC 9562). The uuid module costs more start-up time than this is worth."""
    bits = int.from_bytes(os.urandom(16), "big") & ~(0xF000 << 64) | 0x4000 << 64
    text = f"{bits & ~(0xC000 << 48) | 0x8000 << 48:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class AppDown(Exception):
    """The application refuses connections: this environment cannot serve any more."""


class Invoke:
    def __init__(self, options: Options, hub: Hub, pool: AppPool, dialer: Dialer, invocation: Invocation) -> None:
        self.options = options
        self.hub = hub
        self.pool = pool
        self.dialer = dialer
        self.invocation = invocation
        self.ledger = Ledger(self)
        self.links: list[RouterLink] = []
        self.channels: list[Channel] = []
        self.reasons: set[str] = set()
        self.app_down = ""  # why the application is taken to be gone
        self.shutting_down = False
        self._changed = Event()
        self._began = time.monotonic()
        self._accepted = 0.0  # when the router took the first channel
        self._in_use_at = 0.0  # when the router answered that a request is here
        self._deadline = NEVER
        self._margin = 0.0
        self._grace = max(options.grace, invocation.idle_grace)  # s idle after which we ask to be closed
        self._closing = False  # the router was asked to close
        self._closing_until = NEVER  # ... and has this long to answer
        self._refuse_at = NEVER  # when channels without a request are given back
        self._cut_at = NEVER  # when requests in flight are ended
        self._next_ping = NEVER
        self._pings: dict[RouterLink, float] = {}  # unanswered ones, and when they were sent
        self._replacing: set[Task[None]] = set()
        self._replaced = 0
        self._id = short(invocation.lambda_id)  # as the log has it

    # The course -------------------------------------------------------------------------------------------------------

    async def run(self, deadline: float | None, app_ready: Callable[[], Awaitable[None]]) -> str:
        """Serves until something ends it and returns the exit reason. deadline: seconds since the epoch."""
        self._set_deadline(deadline)
        if self.options.force_deadline is not None and time.time() - self.invocation.sent > STALE_AFTER:
            return exits.SELF_STALE_REQUEST
        await app_ready()
        if self.invocation.init_only:
            return exits.SELF_INIT_ONLY
        try:
            self.links = await self.dialer.dial(self.invocation, self.ledger)
        except Unreachable as error:
            say("router unreachable", id=self._id, router=self.invocation.url, cause=error)
            return exits.ROUTER_UNREACHABLE
        try:
            self._park_all()
            await self._serve()
        finally:
            for task in self._replacing:
                task.cancel()
            for channel in self.channels:
                channel.cut()
            for link in self.links:
                link.shut()
            say_suppressed()
        if self.app_down:
            raise AppDown(self.app_down)
        return exits.worst(self.reasons or {exits.ROUTER_GO_AWAY})

    def _set_deadline(self, deadline: float | None) -> None:
        left = FAREST_DEADLINE if deadline is None else deadline - time.time()
        if left > FAREST_DEADLINE:
            left = TEST_DEADLINE
        if self.options.force_deadline is not None:
            left = self.options.force_deadline
        self._deadline = self._began + left
        self._margin = self.options.margin(left)

    def _park_all(self) -> None:
        invocation = self.invocation
        for number in range(invocation.channels):
            channel = self._channel(self.links[number % len(self.links)], random_uuid())
            self.channels.append(channel)
            channel.park()
        if not invocation.channels:
            self._accepted = time.monotonic()

    def _channel(self, link: RouterLink, channel_id: str) -> Channel:
        invocation = self.invocation
        return Channel(
            link,
            self.pool,
            invocation.pool_id,
            invocation.lambda_id,
            channel_id,
            compression=self.options.compression,
            pass_ids=self.options.pass_ids,
        )

    async def _serve(self) -> None:
        parked_at = time.monotonic()
        if self.shutting_down:
            self.begin_shutdown(0.0)
        while not self._over():
            now = time.monotonic()
            if not self._accepted and now - parked_at > ACCEPT_PATIENCE:
                self.on_broken(f"no channel accepted within {ACCEPT_PATIENCE:g} s")
            self._watch(now)
            self._keep_promises(now)
            if self._over():
                return
            self._changed.clear()
            try:
                async with timeout(max(0.0, min(TICK, self._cut_at - now, self._refuse_at - now))):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _over(self) -> bool:
        """Whether nothing is left to do: no channel open, no close call unanswered."""
        if self.ledger.channels or self._closing_until != NEVER:
            return False
        return bool(self.reasons) or self.shutting_down

    def _watch(self, now: float) -> None:
        """The clock of an instance that serves: deadline, idleness, ping."""
        if not self._accepted or self._closing or self.reasons or self.shutting_down:
            return
        if self._deadline - now < self._margin:
            self._ask_close(exits.SELF_DEADLINE)
        elif not self.ledger.in_flight and now - self._last_active() > self._grace:
            self._ask_close(exits.SELF_LAST_ACTIVE)
        elif now >= self._next_ping:
            self._next_ping = now + PING_EVERY
            self._ping(now)

    def _last_active(self) -> float:
        return max(self._accepted, self._in_use_at, self.ledger.last_active / 1e9)

    def _keep_promises(self, now: float) -> None:
        """What was put off until a certain time."""
        if any(now - sent > PING_PATIENCE for sent in self._pings.values()):
            self._pings.clear()
            self.on_broken(f"ping timed out after {PING_PATIENCE:g} s")
        if now >= self._closing_until:
            self._close_answered()
        if now >= self._refuse_at:
            self._refuse_at = NEVER
            for channel in self.channels:
                channel.refuse()
        if now >= min(self._cut_at, self._deadline - LAST_SECOND):
            self._cut_at = NEVER
            self.reasons = self.reasons or {exits.SELF_DEADLINE}
            self._closing_until = NEVER
            for channel in self.channels:
                channel.cut()

    # Ways to end ------------------------------------------------------------------------------------------------------

    def _patience(self, now: float) -> float:
        """How long the router may take to release us once it knows that we are closing."""
        lived = now - self._began
        wait = min(lived * REPLACEMENT_SHARE, REPLACEMENT_MOST) if lived > LONG_LIVED else 0.0
        return wait + RELEASE_PATIENCE

    def _ask_close(self, reason: str) -> None:
        """Asks the router to close; requests are served, and channels parked, until it has answered."""
        self.reasons.add(reason)
        if self._closing:
            return
        self._closing = True
        self._wake()
        invocation = self.invocation
        path = f"/api/chunked/close/{invocation.lambda_id}"
        idle = reason == exits.SELF_LAST_ACTIVE
        answered, fields = (self._on_idle_answer, IF_IDLE) if idle else (self._on_close_answer, ())
        for link in self.links:
            if link.call(path, invocation.pool_id, invocation.lambda_id, answered, fields):
                self._closing_until = time.monotonic() + self._patience(time.monotonic()) + AFTER_FAULT
                return
        self._close_answered()

    def _on_close_answer(self, status: int) -> None:
        if status != 200:
            say("close call failed", id=self._id, cause=f"status {status}" if status else "no answer")
        if self._closing_until != NEVER:
            self._close_answered()

    def _on_idle_answer(self, status: int) -> None:
        if status != IN_USE:
            self._on_close_answer(status)
        elif self._closing_until != NEVER:
            self._stay()

    def _stay(self) -> None:
        """The router has sent a request here meanwhile. Another reason to close still counts."""
        self._closing, self._closing_until = False, NEVER
        self.reasons.discard(exits.SELF_LAST_ACTIVE)
        self._in_use_at = time.monotonic()  # the request may not have arrived yet
        if not self.ledger.parking and not self.reasons:
            self.reasons.add(exits.ROUTER_GO_AWAY)  # another worker has let this instance go since
        if self.reasons:
            self._tell_router()

    def _close_answered(self) -> None:
        self._closing_until = NEVER
        self._release()

    def _release(self) -> None:
        """Stops parking; what is parked waits a little for the router's go-away."""
        now = time.monotonic()
        self.ledger.parking = False
        self._refuse_at = min(self._refuse_at, now + self._patience(now))
        self._wake()

    def _end(self, reason: str, in_flight: float) -> None:
        """Gives back what is parked now; requests in flight have so many seconds."""
        now = time.monotonic()
        self.reasons.add(reason)
        self.ledger.parking = False
        self._refuse_at = now
        self._cut_at = min(self._cut_at, now + in_flight)
        self._wake()

    def begin_shutdown(self, in_flight: float) -> None:
        """The environment ends."""
        self.shutting_down = True
        self._ask_close(exits.SELF_DEADLINE)
        self._end(exits.SELF_DEADLINE, in_flight)
        self._closing_until = NEVER

    def _wake(self) -> None:
        self._changed.set()

    # Called by channels -----------------------------------------------------------------------------------------------

    def on_parked(self, channel: Channel) -> None:
        if not self._accepted:
            self._accepted = time.monotonic()
            self._next_ping = self._accepted + PING_EVERY

    def on_off(self) -> None:
        if not self.ledger.channels:
            self._wake()

    def on_go_away(self) -> None:
        if not self._closing:
            self.reasons.add(exits.ROUTER_GO_AWAY)
        self._release()

    def on_status(self, channel: Channel, status: int) -> None:
        if status == 409:
            if not self.reasons:
                say("channel refused", id=self._id, status=409, cause="the router does not know this instance")
            self.on_go_away()
            return
        say("channel refused", id=self._id, status=status)
        self._end(exits.of_status(status), NEVER)

    def on_broken(self, why: str) -> None:
        say("router connection failed", id=self._id, cause=why)
        self._end(exits.ROUTER_CONNECTION_ERROR, AFTER_FAULT)
        self._tell_router()

    def on_channel_error(self, why: str) -> None:
        say("channel failed", id=self._id, cause=why)
        self._end(exits.CHANNEL_ERROR_OTHER, AFTER_FAULT)
        self._tell_router()

    def on_link_lost(self, link: RouterLink, why: str) -> None:
        self._pings.pop(link, None)
        if link not in self.links:
            return  # one of those dialled to find out which worker they reach
        if not self.ledger.channels and (self.reasons or self.shutting_down):
            return
        say("router connection lost", id=self._id, worker=link.worker or "unknown", cause=why)
        alive = any(not other.down for other in self.links)
        if alive and not self.reasons and not self.shutting_down and self._replaced < REPLACED_MOST:
            self._replaced += 1
            self._replacing.add(ensure_future(self._replace(link)))
        else:
            self._lost_for_good(alive)

    def _lost_for_good(self, alive: bool) -> None:
        # What other connections carry has nothing to do with this one and may end in its own time.
        self._end(exits.ROUTER_CONNECTION_ERROR, NEVER if alive else 0.0)
        if alive:
            self._tell_router()

    async def _replace(self, lost: RouterLink) -> None:
        """One of several connections ended: a worker of the router died. Its successor takes the channels."""
        try:
            link = await self.dialer.dial_one(self.invocation, self.ledger)
        except Unreachable as error:
            say("router connection not replaced", id=self._id, router=self.invocation.url, cause=error)
            self._lost_for_good(any(not other.down for other in self.links))
            return
        self.links[self.links.index(lost)] = link
        if self.reasons or self.shutting_down:
            link.shut()
            return
        for number, channel in enumerate(self.channels):
            if channel.router is lost:
                self.channels[number] = self._channel(link, channel.id.decode())
                self.channels[number].park()

    def on_app_refused(self, why: str) -> None:
        if self.app_down:
            return
        self.app_down = why
        say("application unreachable", id=self._id, cause=why)
        self._end(exits.APP_CONNECTION_ERROR, AFTER_FAULT)
        self._tell_router()

    def on_app_died(self, why: str) -> None:
        if not self.app_down:
            self.app_down = why
            self._end(exits.APP_CONNECTION_CLOSED, 0.0)
            self._tell_router()

    def on_trouble(self, event: str, cause: str, sent: bytes | None) -> None:
        """One request failed: a 502 for the client, or a retry. sent: what the application sent, where that is why."""
        if sent is None:
            say_limited(event, id=self._id, cause=cause)
        else:
            say_limited(event, id=self._id, cause=cause, sent=sent)

    def _tell_router(self) -> None:
        """A close call as a courtesy: what it is answered changes nothing, but it must have left."""
        self._ask_close(next(iter(self.reasons)))
        if self._closing_until != NEVER:
            self._closing_until = min(self._closing_until, time.monotonic() + AFTER_FAULT)

    def _ping(self, now: float) -> None:
        invocation = self.invocation
        path = f"/api/chunked/ping/{invocation.lambda_id}"
        for link in self.links:

            def answered(status: int, link: RouterLink = link) -> None:
                self._pings.pop(link, None)
                if not link.down:  # else on_link_lost follows
                    self._on_ping_answer(status)

            self._pings[link] = now
            if not link.call(path, invocation.pool_id, invocation.lambda_id, answered):
                del self._pings[link]

    def _on_ping_answer(self, status: int) -> None:
        if self.reasons or status == 200:
            return
        if status == 409:
            self.on_go_away()
        elif status == 0:
            self.on_broken("ping got no answer")
        else:
            say("ping failed", id=self._id, status=status)
            self._end(exits.of_status(status), NEVER)
