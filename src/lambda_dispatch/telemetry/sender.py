"""Bodies on their way to an OpenTelemetry collector, by a thread of their own: who offers one never waits.

A bounded number of bodies waits; beyond it the oldest is dropped and counted. What a body counts for (requests, or one
export of all metrics) is the caller's word.

    the collector takes it                         sent, less what its answer says it rejected
    it cannot be reached, answers 429 or 502-504   tried again, after what Retry-After says or 1, 2, 4, 8 s; then failed
    any other answer                               failed

Without `tries_again` the first failure is final: the next body contains what this one did.
"""

import contextlib
import gzip
import http.client
import random
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque

from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.otel import Settings
from lambda_dispatch_core import __version__

MAX_ANSWER = 64 * 1024  # bytes of a collector's answer that are read
TRIES = 5
LEVEL = 1  # of gzip: 6 takes twice the CPU, and leaves a twentieth less of spans
FIRST_WAIT = 1.0  # s before the second try; doubled for each further one
LONGEST_WAIT = 60.0  # s that a collector's Retry-After is believed; then it is tried again
PASSING = (429, 502, 503, 504)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other. Followed, it would take the settings' headers to a host that was not
    configured, and what that host says to a GET would count as sent."""

    def redirect_request(self, *_: object) -> None:
        return None


class Cut:
    """Ends the connection in use. The timeout of a socket is for each read alone, and an answer that comes byte by byte
    would never exceed it."""

    def __init__(self) -> None:
        self.connection: socket.socket | None = None
        self.made = False

    def __call__(self) -> None:
        self.made = True
        if self.connection is not None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def connecting(kind: type[http.client.HTTPConnection], cut: Cut) -> type[http.client.HTTPConnection]:
    """A connection of that kind whose socket `cut` knows."""

    class Connection(kind):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            cut.connection = self.sock

    return Connection


class Http(urllib.request.HTTPHandler):
    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self._connection = connecting(http.client.HTTPConnection, cut)

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request)


class Https(urllib.request.HTTPSHandler):
    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self._connection = connecting(http.client.HTTPSConnection, cut)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request)


class Sender:
    def __init__(self, wanted: Settings, event: str, depth: int = 1, tries_again: bool = False) -> None:
        """`event`: what a failure is called in the log. `depth`: bodies that may wait."""
        self.settings = wanted
        self.sent = 0
        self.failed = 0  # the collector was not there, or did not take it
        self.dropped = 0  # not even tried: others were before it
        self._cut = Cut()
        self._opener = urllib.request.build_opener(NoRedirects, Http(self._cut), Https(self._cut))
        self._event = event
        self._depth = depth
        self._tries_again = tries_again
        self._bodies: deque[tuple[bytes, int]] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._closing = False
        self._until = 0.0  # the collector asked for silence
        threading.Thread(target=self._work, name="otlp", daemon=True).start()

    def offer(self, body: bytes, count: int = 1) -> None:
        """Never waits."""
        with self._changed:
            if not self._tries_again and time.monotonic() < self._until:
                self.dropped += count
                return
            if len(self._bodies) >= self._depth:
                self.dropped += self._bodies.popleft()[1]
            self._bodies.append((body, count))
            self._changed.notify_all()

    def finish(self, seconds: float) -> None:
        """Gives what waits a last chance: one try each, for at most so long."""
        end = time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while (self._bodies or self._busy) and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._bodies:
                    self._changed.wait()
                body, count = self._bodies.popleft()
                self._busy = True
            self._send(gzip.compress(body, LEVEL), count)

    def _send(self, packed: bytes, count: int) -> None:
        for turn in range(TRIES):
            after: float | None = None
            passing = True
            try:
                rejected = min(self._post(packed), count)
                self.sent += count - rejected
                self.failed += rejected
                if rejected:
                    self._report(f"the collector rejected {rejected}")
                return
            except urllib.error.HTTPError as error:
                passing = error.code in PASSING
                text = error.headers.get("retry-after", "") if passing else ""
                if text.isascii() and text.isdigit() and len(text) < 6:
                    after = float(text)
                why = f"status {error.code}"
                error.close()
            except Exception as error:  # whatever a stranger's answer causes: the thread goes on
                why = str(error) or type(error).__name__
            if after is not None:
                self._until = time.monotonic() + after
            if not (passing and self._tries_again) or turn == TRIES - 1 or self._closing:
                self.failed += count
                self._report(why)
                return
            self._report(why)
            self._pause(
                min(after, LONGEST_WAIT) if after is not None else FIRST_WAIT * 2**turn * random.uniform(0.8, 1.2)
            )

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while not self._closing and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _post(self, packed: bytes) -> int:
        """How much of it the collector rejected."""
        headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            "user-agent": f"lambda-dispatch/{__version__}",
            **self.settings.headers,
        }
        request = urllib.request.Request(self.settings.url, packed, headers, method="POST")
        seconds = self.settings.timeout
        late = threading.Timer(seconds, self._cut)
        late.daemon = True
        self._cut.made = False
        late.start()
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                said = answer.read(MAX_ANSWER)
        finally:
            late.cancel()
            self._cut.connection = None
        if self._cut.made:
            raise TimeoutError(f"no whole answer within {seconds:g} s")  # what came looks like one that ended early
        return rejected(said)

    def _report(self, why: str) -> None:
        host = urllib.parse.urlsplit(self.settings.url).hostname  # the rest of it may be a secret
        log.limited(log.WARNING, self._event, host=host, error=why[:200], failed=self.failed, dropped=self.dropped)


def rejected(answer: bytes) -> int:
    """rejected_spans or rejected_data_points of an answer; 0 for one that says nothing, or that cannot be read."""
    partial = pb.first(answer, 1)
    if not isinstance(partial, bytes):
        return 0
    count = pb.first(partial, 1)
    return count if isinstance(count, int) and 0 <= count < 1 << 63 else 0
