"""The invokes that one environment has at once: one, or on a managed instance as many as its function allows.

    add ──► deliver ──► take (a poll of the runtime) ──► answered ──► close

An invoke whose time is over on a managed instance is closed before the runtime has answered it. Its place stays
occupied until the runtime does.
"""

import asyncio
from collections import deque
from collections.abc import Iterator

from lambda_dispatch.local.invocation import Invocation


class Invokes:
    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[str, Invocation] = {}  # by request id, from add() to close()
        self._delivered: deque[Invocation] = deque()  # for the next poll
        self._taken: set[str] = set()  # request ids that the runtime has not answered; their invoke may be closed
        self._polls: list[asyncio.Future[None]] = []

    def __iter__(self) -> Iterator[Invocation]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def first(self) -> Invocation | None:
        """The one that is open for the longest time."""
        return next(iter(self._open.values()), None)

    @property
    def free(self) -> int:
        """How many more the environment can have."""
        return self.most - len(self._taken | self._open.keys())

    def add(self, invocation: Invocation) -> None:
        assert self.free
        self._open[invocation.request_id] = invocation

    def deliver(self, invocation: Invocation) -> None:
        """A poll of the runtime may take it."""
        self._delivered.append(invocation)
        self._wake()

    def close(self, invocation: Invocation) -> None:
        del self._open[invocation.request_id]
        if invocation in self._delivered:
            self._delivered.remove(invocation)

    # The runtime's side

    async def take(self) -> Invocation:
        """The next one that is delivered."""
        while not self._delivered:
            poll = asyncio.get_running_loop().create_future()
            self._polls.append(poll)
            try:
                await poll
            except asyncio.CancelledError:
                self._wake()  # another poll takes what was meant for this one
                raise
            finally:
                if poll in self._polls:
                    self._polls.remove(poll)
        invocation = self._delivered.popleft()
        self._taken.add(invocation.request_id)
        return invocation

    @property
    def all_taken(self) -> bool:
        """The runtime has as many to answer as it may have."""
        return len(self._taken) >= self.most

    def taken(self, request_id: str) -> Invocation | None:
        """One that the runtime has and has not answered, unless its time is over."""
        return self._open.get(request_id) if request_id in self._taken else None

    def answered(self, request_id: str) -> None:
        self._taken.discard(request_id)

    def restart(self) -> None:
        """The processes are gone: their polls get nothing any more."""
        self._polls = []
        self._delivered.clear()
        self._taken.clear()

    def _wake(self) -> None:
        for poll in self._polls:
            if not poll.done():
                poll.set_result(None)
                return
