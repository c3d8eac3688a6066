"""TLS on a Transport. A module of its own: ssl costs 10 ms of a start, and a router over plain TCP does without it."""

import ssl
from typing import Any

from lambda_dispatch_extension.loop import Future, Loop
from lambda_dispatch_extension.transport import Transport

READ_BLOCK = 64 * 1024


class TlsTransport:
    """What a Wire sees as its transport; towards the Transport below it is the protocol."""

    def __init__(self, loop: Loop, protocol: Any, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self.loop = loop
        self.protocol = protocol
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, False, server_hostname)
        self.below: Any = None
        self.sock: Any = None
        self.backlog = bytearray()  # plain text that waits for the session or for the socket
        self.high = self.low = 64 * 1024
        self.closing = False
        self._open = False  # connection_made() was called
        self._paused = False  # pause_writing() was called
        self._reading = True
        self._block = bytearray(READ_BLOCK)
        self._shaken: Future[None] | None = None
        self._lost: BaseException | None = None

    async def begin(self, sock: Any) -> None:
        """The TLS handshake, then connection_made()."""
        self.sock = sock
        self._shaken = Future()
        self.below = Transport(self.loop, sock, self)
        done = False
        try:
            self.below.begin()
            self._shake()
            await self._shaken
            if self._lost is not None:
                raise self._lost
            done = True
        finally:
            self._shaken = None
            if not done:
                self.below.abort()
        self._open = True
        self.protocol.connection_made(self)
        self._read()

    def _shake(self) -> None:
        shaken = self._shaken
        if shaken is None or shaken.done():
            return
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except OSError as error:  # SSLError is one
            self._send()
            shaken.set_exception(error)
            return
        self._send()
        shaken.set_result(None)

    def _send(self) -> None:
        if self.outgoing.pending:
            self.below.write(self.outgoing.read())

    # The Transport's protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(high=0, low=0)

    def get_buffer(self, hint: int) -> bytearray:
        return self._block

    def buffer_updated(self, n: int) -> None:
        self.incoming.write(memoryview(self._block)[:n])
        if self._shaken is not None:
            self._shake()
        elif not self.closing:
            self._read()

    def eof_received(self) -> bool:
        self.incoming.write_eof()
        if self._shaken is not None:
            if not self._shaken.done():
                self._shaken.set_exception(ConnectionResetError("the connection ended within the TLS handshake"))
        elif not self.closing:
            self._read()
        return True

    def pause_writing(self) -> None:
        """The socket takes no more; write() keeps what comes."""

    def resume_writing(self) -> None:
        self._flush()

    def connection_lost(self, error: BaseException | None) -> None:
        self.closing = True
        if self._shaken is not None:
            self._lost = error or ConnectionResetError("the connection was lost")
            if not self._shaken.done():
                self._shaken.set_exception(self._lost)
        elif self._open:
            self.protocol.connection_lost(error)

    # The protocol's transport -----------------------------------------------------------------------------------------

    def _read(self) -> None:
        while self._reading and not self.closing:
            block = self.protocol.get_buffer(-1)
            try:
                n: int = self.session.read(len(block), block)  # type: ignore[assignment]
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                n = 0
            except OSError as error:
                self._fail(error)
                return
            if not n:
                self._reading = False
                if not self.protocol.eof_received():
                    self.close()
                return
            self.protocol.buffer_updated(n)
        # The session may have something to send (a key update), or a write waited for what was read.
        if not self.closing:
            self._flush()

    def write(self, data: bytes) -> None:
        if self.closing:
            return
        self.backlog += data
        self._flush()

    def _flush(self) -> None:
        """Encrypts as much as the socket takes; the rest waits for its room."""
        while self.backlog and not self.below.waiting:
            try:
                n = self.session.write(memoryview(self.backlog)[:READ_BLOCK])
            except ssl.SSLWantReadError:
                break
            except OSError as error:
                self._fail(error)
                return
            del self.backlog[:n]
            self._send()
        self._send()
        if not self._paused and len(self.backlog) > self.high:
            self._paused = True
            self.protocol.pause_writing()
        elif self._paused and len(self.backlog) <= self.low:
            self._paused = False
            self.protocol.resume_writing()
        if self.closing and not self.backlog:
            self._end()

    def _fail(self, error: BaseException) -> None:
        self.closing = True
        self.backlog.clear()
        self.below.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self.sock, "ssl_object": self.session}.get(name, default)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.high, self.low = high, low

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self._reading = False
        self.below.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self.closing:
            self._reading = True
            self.below.resume_reading()
            self.loop.call_soon(self._read)

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        if not self.backlog:
            self._end()

    def _end(self) -> None:
        """close_notify, then the end of the connection; the other side's is not awaited."""
        try:
            self.session.unwrap()
        except OSError:
            pass
        self._send()
        self.below.close()

    def abort(self) -> None:
        self.closing = True
        self.backlog.clear()
        self.below.abort()
