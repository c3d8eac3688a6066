"""Two of our sessions wired to each other, without a socket."""

from typing import Any

from lambda_dispatch_testing.h2_plain import PlainSession

Event = tuple[Any, ...]
Pairs = list[tuple[bytes, bytes]]

REQUEST: Pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"here")]


class Pair:
    def __init__(self, client: PlainSession | None = None, server: PlainSession | None = None) -> None:
        self.client = client or PlainSession(client=True)
        self.server = server or PlainSession()

    def pump(self) -> tuple[list[Event], list[Event]]:
        """Carries bytes both ways until both are silent; what the client and what the server saw."""
        seen: tuple[list[Event], list[Event]] = ([], [])
        while True:
            up, down = self.client.take(), self.server.take()
            if not up and not down:
                return seen
            seen[1].extend(self.server.feed(up))
            seen[0].extend(self.client.feed(down))

    def close(self) -> None:
        self.client.lost()
        self.server.lost()


def body(events: list[Event], stream: int) -> bytes:
    return b"".join(event[2] for event in events if event[:2] == ("data", stream))
