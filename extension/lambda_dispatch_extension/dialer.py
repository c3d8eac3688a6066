"""Connections to the router: TCP, or TLS where ALPN, if the router speaks it, must choose h2."""

import _socket as socket
from typing import Any

from lambda_dispatch_extension.loop import Future, ensure_future, gather, get_running_loop, sleep, timeout
from lambda_dispatch_extension.options import Options
from lambda_dispatch_extension.payload import Invocation
from lambda_dispatch_extension.router_link import Ledger, RouterLink
from lambda_dispatch_net.wire import Hub

# A router that cannot be reached is tried again for this long: long enough for a router that is just being replaced,
# short enough that an invoke which can do nothing costs no more than a second or two.
TRY_FOR = 0.75  # s; a try that began earlier may end later
PAUSE = 0.25  # s
# With as many connections as workers, a round reaches some 63 % of the workers still missing: after six, 1 in 400 is
# missing, and a request there takes the way through a sibling.
ROUNDS = 6
# The ping detects a peer that vanished without FIN or RST; TCP keep-alive covers connections without pings.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 10, 5, 3


class Unreachable(Exception):
    """No connection to the router."""


class Dialer:
    def __init__(self, options: Options, hub: Hub) -> None:
        self.options = options
        self.hub = hub
        self._tls: Any = None

    async def dial(self, invocation: Invocation, ledger: Ledger) -> list[RouterLink]:
        """As many connections as the invocation asks for, each to another worker of the router.

        The kernel gives each connection to some worker. Each is asked which one it reached, in rounds: what reached a
        worker that another reached before is closed and dialled again. Workers not reached after ROUNDS have their
        requests served through the others.
        """
        wanted = invocation.connections
        links = await self._dial(invocation, ledger, wanted)
        if wanted == 1:
            return links
        by_worker: dict[bytes, RouterLink] = {}
        kept: list[RouterLink] = []
        for _ in range(ROUNDS):
            await gather(*(self._ask(link, invocation) for link in links))
            for link in links:
                if link.down:
                    continue
                if link.worker and by_worker.setdefault(link.worker, link) is not link:
                    link.shut()
                else:
                    kept.append(link)  # another worker, or the router does not name its workers
            if len(kept) >= wanted or not by_worker:
                break
            links = await self._dial(invocation, ledger, wanted - len(kept))
        else:
            for link in links:
                if link not in kept:
                    link.shut()
        kept = [link for link in kept if not link.down]
        if not kept:
            raise Unreachable("the router closed every connection")
        return kept

    async def _ask(self, link: RouterLink, invocation: Invocation) -> None:
        """A ping; the header fields of its answer name the worker that the connection reached."""
        answered: Future[int] = Future()

        def done(status: int) -> None:
            if not answered.done():
                answered.set_result(status)

        path = f"/api/chunked/ping/{invocation.lambda_id}"
        if link.call(path, invocation.pool_id, invocation.lambda_id, done):
            try:
                async with timeout(self.options.router_connect):
                    await answered
            except TimeoutError:
                pass  # handled like a router that does not name its workers

    async def _dial(self, invocation: Invocation, ledger: Ledger, count: int) -> list[RouterLink]:
        """So many connections, all or none."""
        tasks = [ensure_future(self.dial_one(invocation, ledger)) for _ in range(count)]
        try:
            return list(await gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            for link in await gather(*tasks, return_exceptions=True):
                if isinstance(link, RouterLink):
                    link.cut()
            raise

    async def dial_one(self, invocation: Invocation, ledger: Ledger) -> RouterLink:
        """A connection, tried for a while."""
        loop = get_running_loop()
        began = loop.time()
        first = ""
        tries = 0
        while True:
            tries += 1
            try:
                return await self._connect(invocation, ledger)
            except TimeoutError:
                why = f"connect timed out after {self.options.router_connect:g} s"
            except OSError as error:
                why = str(error)
            # The first cause is the useful one: later tries may fail because of it.
            first = first or why
            if loop.time() - began >= TRY_FOR:
                last = f", the last: {why}" if why != first else ""
                raise Unreachable(f"{first} (the first of {tries} tries in {loop.time() - began:.1f} s{last})")
            await sleep(PAUSE)

    async def _connect(self, invocation: Invocation, ledger: Ledger) -> RouterLink:
        def link() -> Any:  # a Wire is a BufferedProtocol by its methods, not by its base
            return RouterLink(self.hub, ledger, invocation.scheme, invocation.authority, invocation.secret)

        tls = self._context() if invocation.scheme == "https" else None
        async with timeout(self.options.router_connect):
            transport, protocol = await get_running_loop().create_connection(
                link,
                invocation.host,
                invocation.port,
                ssl=tls,
                server_hostname=invocation.host if tls else None,
            )
        assert isinstance(protocol, RouterLink)
        keep_alive(transport.get_extra_info("socket"))
        if tls is not None:
            self._check_peer(transport, protocol, invocation)
        return protocol

    def _context(self) -> Any:
        if self._tls is None:
            import ssl

            context = ssl.create_default_context(cafile=self.options.ca_file or None)
            if not self.options.ca_file:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.options.client_certificate:
                try:
                    context.load_cert_chain(self.options.client_certificate, self.options.client_key or None)
                except (ssl.SSLError, OSError) as error:
                    named = f"LAMBDA_DISPATCH_CLIENT_CERTIFICATE={self.options.client_certificate!r}"
                    raise OSError(f"{named} cannot be used: {error}") from None
            context.set_alpn_protocols(["h2"])
            self._tls = context
        return self._tls

    def _check_peer(self, transport: Any, link: RouterLink, invocation: Invocation) -> None:
        session = transport.get_extra_info("ssl_object")
        chosen = session.selected_alpn_protocol()
        if chosen not in (None, "h2"):
            link.cut()
            raise OSError(f"the router chose {chosen!r} by ALPN, not 'h2'")
        pinned, source = self.options.fingerprint, "LAMBDA_DISPATCH_ROUTER_FINGERPRINT"
        if not pinned and not self.options.ca_file:
            pinned, source = invocation.certificate, "the invoke's CertificateSha256"
        if pinned:
            import hashlib

            found = hashlib.sha256(session.getpeercert(True)).digest()
            if found != pinned:
                link.cut()
                raise OSError(f"the router's certificate has SHA-256 {found.hex()}, {source} pins {pinned.hex()}")


def keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
