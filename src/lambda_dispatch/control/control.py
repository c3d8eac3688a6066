"""What extensions ask of the router beyond single requests: an instance's first channel, ping, close, and the end.

The board says which instances exist and how they stand; the matcher knows those of which this worker holds slots; this
module keeps the two in step. look() is called when the worker's bell rings and on every tick.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

from lambda_dispatch.control.credentials import proof
from lambda_dispatch.control.routes import route_of, uuid_bytes
from lambda_dispatch.dispatch.features import features
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.dispatch.model import Instance
from lambda_dispatch.telemetry import log
from lambda_dispatch_core.board.board import (
    INSTANCE_CLOSED,
    INSTANCE_DRAINING,
    INSTANCE_FREE,
    INSTANCE_OPEN,
    INSTANCE_STARTING,
    Board,
)
from lambda_dispatch_core.board.board import Instance as Place

if TYPE_CHECKING:
    from lambda_dispatch.config import RouterConfig
    from lambda_dispatch.control.channel import Channel, ControlWire
    from lambda_dispatch_core.bytes.fields import FieldList
    from lambda_dispatch_core.h2.streams import H2Stream
    from lambda_dispatch_net.wire import Hub

NOWHERE, CHANNEL, PING, CLOSE = range(4)
WRONG, NOT_PRESENTED, PROVEN = range(3)
GOING = b"No such instance, or it is closing"
FORBIDDEN = b"This call may not speak for the instance"
IN_USE = b"A request has been sent to the instance"
IF_IDLE = (b"x-lambda-dispatch-if-idle", b"1")  # of a close call: the instance idles, and closes for no other reason
TOO_MANY = b"The instance has as many channels or connections as it may have"

# An instance that lived longer than this is given time to be replaced before it goes (protocol.md section 3).
REPLACED_AFTER_NS = 10_000_000_000
REPLACEMENT_WAIT_NS = 5_000_000_000
# A channel whose request we took back is parked again within a round trip by an extension that goes on.
RETURN_NS = 2_000_000_000
# The rest of an answer that no client waits for may take this long; and see ABANDONED in channel.pyx.
ABANDONED_NS = 5_000_000_000
# An instance whose extension asked to close keeps one parked channel at most this long for what it has in flight:
# less than the 15 s an extension leaves itself before the invoke's deadline.
CLOSING_NS = 10_000_000_000
# Connections of one instance in one worker. Our extension dials one per worker, and again for workers that it missed.
MAX_CONNECTIONS = 8
# Connections that speak for no instance, in one worker; the oldest is closed for one more. A thousand instances that
# start at once come within a second. Never more than a quarter of the descriptors.
MAX_STRANGERS = 2048
# Upgraded connections of an instance that ends are closed over this time: with the wait for its replacement, and
# what each gets to end, it is less than the 15 s an extension leaves itself.
LEAVE_SPREAD = 5_000_000_000
# A connection whose invoke has returned waits so long for the next one. Extensions that keep theirs do so for 5 s, and
# one that is frozen meanwhile answers no PING.
KEPT_NS = 6_000_000_000


class Control:
    """The control port of one worker."""

    def __init__(
        self,
        hub: Hub,
        board: Board,
        matcher: Matcher,
        ring_scaler: Callable[[], None],
        worker: int,
        config: RouterConfig,
    ) -> None:
        self.worker = b"%d" % worker
        self.apply(config)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.max_strangers = MAX_STRANGERS if descriptors < 0 else min(MAX_STRANGERS, max(descriptors // 4, 1))
        self.hub = hub
        self.board = board
        self.matcher = matcher
        self.ring_scaler = ring_scaler
        self.wires: set[ControlWire] = set()
        # Calls that wait for what their instance has in flight: close, and channels that come late.
        self._closing: list[tuple[ControlWire, H2Stream, Instance]] = []
        self._late: list[tuple[ControlWire, H2Stream, Instance]] = []
        self._missing: list[tuple[int, Instance, bytes]] = []  # until when, whose, which channel
        self._abandoned: list[tuple[int, Channel]] = []  # until when the rest of its answer may run out
        # Connections that speak for no instance, oldest first, and since when (ns).
        self._strangers: dict[ControlWire, int] = {}
        self._key = blake2b(bytes(str(board.created_wall), "ascii"), digest_size=16).digest()
        self.ending = False

    def apply(self, config: RouterConfig) -> None:
        """Takes a configuration, for connections and calls that come from now on."""
        self.secret_required = config.control_secret == "required"
        self.bind_address = config.control_bind_address
        self.head_timeout = int(config.head_timeout * 1e9)

    # connections ------------------------------------------------------------------------------------------------------

    def opened(self, wire: ControlWire, address: str) -> int:
        """A connection has come from this address; returns a hash of the address, never 0."""
        self.wires.add(wire)
        self._strangers[wire] = self.hub.clock()
        if len(self._strangers) > self.max_strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            log.limited(
                log.WARNING, "control connection closed", reason="too_many_without_instance", limit=self.max_strangers
            )
            oldest.hang_up()
        digest = blake2b(address.removeprefix("::ffff:").encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") or 1

    def closed(self, wire: ControlWire) -> None:
        self.wires.discard(wire)
        self._strangers.pop(wire, None)
        instance = wire.carries()
        if instance is not None:
            self._release(instance, wire)

    def violated(self, wire: ControlWire, reason: str) -> None:
        log.limited(log.WARNING, "control connection violated protocol", reason=reason)

    def _release(self, instance: Instance, wire: ControlWire) -> None:
        instance.leave(wire)
        wire.leave()
        if wire in self.wires:
            self._strangers[wire] = self.hub.clock()
        if instance.unused():
            self.matcher.drop_instance(instance)

    # requests ---------------------------------------------------------------------------------------------------------

    def channel(self, wire: ControlWire, stream: H2Stream, id_in_path: bytes, head: FieldList) -> None:
        """A channel that the fast path did not know: the first of its connection, or one that has to be refused."""
        fields = head.pairs()
        named = [value for name, value in fields if name == b"x-lambda-id"]
        if len(named) != 1 or named[0] != id_in_path:
            wire.answer(stream, 409, b"X-Lambda-Id and the path name different instances")
            return
        pool = self._pool_of(fields)
        _, _, pool_in_path, channel = route_of(head)
        if pool_in_path is not None and pool_in_path != pool:
            wire.answer(stream, 409, b"X-Pool-Id and the path name different pools")
            return
        place = self._place(id_in_path)
        if place is not None and not self._may_speak(wire, place, head):
            wire.answer(stream, 403, FORBIDDEN)
            return
        announced = (b"x-lambda-dispatch-extension", b"1") in fields
        known = features(fields) if announced else 0
        if place is not None:
            self.board.show_features(place.slot, place.generation, known)  # before any worker sees it open
        instance = self._admit(place, pool)
        if instance is None:
            going = wire.carries()
            if going is not None and going.text() == id_in_path and self._holds_late(going):
                # Refused now, it might return from its invoke and be frozen with an answer half delivered.
                self._late.append((wire, stream, going))
            else:
                wire.answer(stream, 409, GOING)
            return
        carried = wire.carries()
        if carried is not None and carried is not instance:
            if carried.idle_count or carried.busy_count:
                wire.answer(stream, 409, b"This connection belongs to another instance")
                return
            self._release(carried, wire)
            carried = None
        if wire.is_full(instance) or (carried is None and len(instance.carriers()) >= MAX_CONNECTIONS):
            log.limited(
                log.WARNING, "channel refused", reason="too_many", instance=instance.short(), slot=instance.slot
            )
            wire.answer(stream, 429, TOO_MANY)
            return
        self._strangers.pop(wire, None)
        wire.accept(stream, instance, channel, announced, known)

    def _may_speak(self, wire: ControlWire, place: Place, head: FieldList) -> bool:
        """Whether this call has the instance's secret, or needs none and comes from where the first one came from."""
        proven = proof(self.board, place.slot, place.generation, head, self.secret_required)
        if proven == PROVEN:
            return True
        if proven == WRONG:
            reason = "secret"
        elif not self.bind_address or self.board.bind_opener(place.slot, place.generation, wire.origin):
            return True
        else:
            reason = "address"
        log.limited(log.WARNING, "control call refused", reason=reason, instance=place.id[:4].hex(), slot=place.slot)
        return False

    def call(self, wire: ControlWire, stream: H2Stream, head: FieldList, end: bool) -> None:
        """Ping, close, and whatever else is asked."""
        kind, text, pool_in_path, _ = route_of(head)
        if kind not in (PING, CLOSE):
            wire.answer(stream, 404, b"Not found")
            return
        pool = pool_in_path or self._pool_of(head.pairs())
        if pool != b"default" and pool not in self.matcher.pools and not self._learn_pool(pool):
            wire.answer(stream, 404, b"No such pool")
            return
        place = self._place(text)
        if place is not None:
            if pool_in_path is not None and self._wire_name(place.pool) != pool_in_path:
                place = None
            elif not self._may_speak(wire, place, head):
                wire.answer(stream, 403, FORBIDDEN)
                return
            elif wire in self._strangers:
                self._strangers[wire] = self.hub.clock()
        if kind == PING:
            if place is not None and self._welcome(place):
                wire.answer(stream, 200, b"")
            else:
                wire.answer(stream, 409, GOING)
        elif place is None:
            wire.answer(stream, 200, b"")
        elif place.state == INSTANCE_OPEN and place.in_flight > 0 and IF_IDLE in head.pairs():
            wire.answer(stream, 412, IN_USE)
        else:
            self._close(wire, stream, place)

    def goaway_text(self, instance: Instance, channel: bytes) -> bytes:
        return b"GET /_lambda_dispatch/goaway HTTP/1.1\r\nX-Lambda-Id: %s\r\nX-Channel-Id: %s\r\n\r\n" % (
            instance.text(),
            channel,
        )

    # the board --------------------------------------------------------------------------------------------------------

    def _pool_of(self, fields: list[tuple[bytes, bytes]]) -> bytes:
        named = [value for name, value in fields if name == b"x-pool-id"]
        return named[0] if len(named) == 1 and named[0] else b"default"

    def _wire_name(self, index: int) -> bytes:
        """What x-pool-id calls a pool: the configured function's is `default` whatever its name."""
        return b"default" if index == 0 else self.board.pool_name(index)

    def _learn_pool(self, name: bytes) -> bool:
        found = self.board.find_pool(name)
        if found is None:
            return False
        self.matcher.add_pool(found[0], name, found[1])
        return True

    def _place(self, text: bytes) -> Place | None:
        """What the board says of the instance of this id, if it is starting, open or draining."""
        key = uuid_bytes(text)
        found = self.board.find_instance(key) if key is not None else None
        if found is None:
            return None
        place = self.board.instance(found[0])
        return place if place.generation == found[1] and place.id == key else None

    def _welcome(self, place: Place) -> bool:
        if place.state in (INSTANCE_STARTING, INSTANCE_OPEN):
            return True
        return place.state == INSTANCE_DRAINING and place.goaway_at > self.hub.clock()

    def _admit(self, place: Place | None, pool_name: bytes) -> Instance | None:
        if place is None or self.ending or not self._welcome(place) or self._wire_name(place.pool) != pool_name:
            return None
        if place.state == INSTANCE_STARTING and self.board.open_instance(place.slot, place.generation, self.hub.now):
            log.info("instance opened", slot=place.slot, pool=pool_name.decode("ascii", "replace"))
            self.ring_scaler()
        instance: Instance | None = self.matcher.instances.get(place.id)
        if instance is None:
            pool = self.matcher.add_pool(place.pool, pool_name, self.board.pool(place.pool).generation)
            instance = Instance(place.slot, place.generation, pool, place.id)
            self.matcher.add_instance(instance)
            if place.state == INSTANCE_DRAINING:
                self.matcher.resort(instance)
        return None if instance.retired else instance

    def _close(self, wire: ControlWire, stream: H2Stream, place: Place) -> None:
        now = self.hub.clock()
        self.board.request_close(place.slot, place.generation)
        lived = now - place.opened if place.opened else 0
        wait = min(lived // 10, REPLACEMENT_WAIT_NS) if lived > REPLACED_AFTER_NS else 0
        self.board.begin_drain(place.slot, place.generation, now + wait)
        self.ring_scaler()
        instance = self.matcher.instances.get(place.id)
        if instance is None:
            wire.answer(stream, 200, b"")
            return
        self._closing.append((wire, stream, instance))
        self.look()

    def look(self) -> None:
        """Brings the instances of this worker in step with the board."""
        now = self.hub.clock()
        for instance in list(self.matcher.instances.values()):
            place = self.board.instance(instance.slot)
            if place.generation != instance.generation or place.state in (INSTANCE_CLOSED, INSTANCE_FREE):
                self._over(instance)
            elif place.state == INSTANCE_DRAINING:
                if place.goaway_at > now and not self.ending:
                    self.matcher.resort(instance)
                else:
                    self._let_go(instance, place.close_requested and now > place.goaway_at + CLOSING_NS)
        self._closing = self._answer(self._closing, 200, b"", self._delivers)
        self._late = self._answer(self._late, 409, GOING, self._holds_late)
        self._look_for_missing(now)
        while self._abandoned and self._abandoned[0][0] <= now:
            self._abandoned.pop(0)[1].give_up()
        self.matcher.serve_all(now)

    def _over(self, instance: Instance) -> None:
        """Its invoke has returned: what it held is lost; a connection without streams may serve the next invoke."""
        for wire in instance.carriers():
            if wire.idle() and not self.ending:
                self._release(instance, wire)
            else:
                wire.cut("instance_ended")

    def _let_go(self, instance: Instance, at_once: bool = False) -> None:
        """Go-away on what is parked, on the last of it when nothing of the instance is in flight any more.

        There are extensions that take a request to be finished as soon as they have the whole answer in memory. When
        all channels are gone they return from the invoke, and are frozen with what they have not sent.
        """
        self.matcher.retire(instance)
        self.matcher.tunnels.leave_instance(instance, self.hub.now, LEAVE_SPREAD)
        spare = 1 if instance.busy_count > 0 and not at_once else 0
        for wire in instance.carriers():
            wire.send_goaways(spare)

    def _holds_late(self, instance: Instance) -> bool:
        """Whether a channel that is parked too late is to wait for what its instance has in flight."""
        place = self.board.instance(instance.slot)
        if place.generation == instance.generation and place.close_requested:
            return self._delivers(instance)
        return instance.busy_count > 0

    def _answer(
        self,
        calls: list[tuple[ControlWire, H2Stream, Instance]],
        status: int,
        text: bytes,
        waits: Callable[[Instance], bool],
    ) -> list[tuple[ControlWire, H2Stream, Instance]]:
        """Answers the calls whose time has come; the others."""
        still = []
        for wire, stream, instance in calls:
            if wire.closing or (instance.retired and not waits(instance)):
                wire.answer(stream, status, text)
            else:
                still.append((wire, stream, instance))
        return still

    def _delivers(self, instance: Instance) -> bool:
        """Whether answers of it are under way, and nothing else: then its extension may believe that it is done.

        A request without an answer yet it knows to be in flight, and there are extensions that leave one without until
        they are allowed to close: when the application is gone.
        """
        return instance.busy_count > 0 and not any(wire.awaits() for wire in instance.carriers())

    def abandoned(self, channel: Channel) -> None:
        """No client waits for the answer on this channel any more; its rest may run out."""
        self._abandoned.append((self.hub.clock() + ABANDONED_NS, channel))

    def took_back(self, instance: Instance, channel: bytes) -> None:
        """A channel was reset with its request under way: does it come back?"""
        self._missing.append((self.hub.clock() + RETURN_NS, instance, channel))

    def _look_for_missing(self, now: int) -> None:
        """Replaces instances that do not park a channel again.

        There are extensions that park nothing any more once a channel was reset, and do not ask to be closed either:
        they wait on what is parked for as long as Lambda lets them.
        """
        still = []
        for until, instance, channel in self._missing:
            if instance.retired or any(wire.has(channel) for wire in instance.carriers()):
                continue
            if now < until:
                still.append((until, instance, channel))
            elif self.board.begin_drain(instance.slot, instance.generation, now + REPLACEMENT_WAIT_NS):
                log.info("instance replaced", reason="parks_no_more", instance=instance.short(), slot=instance.slot)
                self.ring_scaler()
        self._missing = still

    def hand_over(self, until: int) -> None:
        """The worker is replaced: its instances are to be, too, and may serve as a last resort until they are.

        Instances end when one of their connections does. Marked early, they are replaced by the scaler before they go.
        """
        marked = False
        for instance in self.matcher.instances.values():
            marked |= self.board.begin_drain(instance.slot, instance.generation, until)
        if marked:
            self.ring_scaler()
            self.look()

    def serves(self) -> bool:
        """Whether an instance of this worker may be given requests."""
        return any(not instance.retired for instance in self.matcher.instances.values())

    def retire_all(self) -> None:
        """Go-away on everything that is parked: the worker ends."""
        self.ending = True
        for instance in list(self.matcher.instances.values()):
            self._let_go(instance)
        for wire in list(self.wires):
            if wire.carries() is None:
                wire.hang_up()
        self.look()

    def probe(self, interval: int, patience: int) -> None:
        """PINGs quiet connections, and cuts those that have not answered one for too long."""
        self._close_strangers()
        for wire in list(self.wires):
            if wire.left_for(self.hub.clock()) > KEPT_NS and wire.idle():
                wire.hang_up()
            elif not wire.probe(interval, patience):
                instance = wire.carries()
                log.limited(
                    log.WARNING,
                    "instance ping timed out",
                    instance=instance.short() if instance is not None else "none",
                )
                self._gives_up(instance)
                wire.cut("instance_silent")

    def _close_strangers(self) -> None:
        """Closes connections that have made no valid call for HeadTimeout: answering PINGs is not enough."""
        since = self.hub.clock() - self.head_timeout
        for wire, at in list(self._strangers.items()):
            if at <= since and not any(waiting is wire for waiting, _, _ in self._closing):
                del self._strangers[wire]
                log.limited(
                    log.WARNING, "control connection closed", reason="no_valid_call", after_s=self.head_timeout / 1e9
                )
                wire.hang_up()

    def _gives_up(self, instance: Instance | None) -> None:
        """It is silent here: siblings need not find out by themselves, and a replacement can start."""
        now = self.hub.clock()
        if instance is not None and self.board.begin_drain(instance.slot, instance.generation, now):
            self.ring_scaler()

    def forget_pools(self) -> None:
        """Drops pools that the scaler has retired."""
        for pool in list(self.matcher.pools.values()):
            if pool.index and not self.matcher.pool_in_use(pool):
                self.matcher.drop_pool(pool)
