"""An instance with the habits of the original extension, those that a router of its protocol has to live with.

- It has a request finished as soon as it holds the whole answer in memory, and parks the channel again at once.
- When it was sent a go-away and has neither a parked channel nor a request at the application, it returns from its
  invoke. Its environment is frozen then, with whatever it has not sent.
- When a channel is reset it ends the whole invoke: it parks no channel again, and waits for what is parked.
- A head with more than 64 fields, or a target that a http::Uri refuses, makes it panic: the invoke fails.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from tests.support.instance_peer import Call, Gone, InstancePeer
from tests.support.worker_process import Given, WorkerProcess

REFUSED_BY_URI = re.compile(r'[\x00-\x20"#<>\x7f-\uffff]|^[^?]*`')

App = Callable[[str, str, bytes], Awaitable[bytes]]  # method, target, body -> body of the answer


class OriginalPeer:
    """One invoke. `over` is set when it has returned, and `why` says what for."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.peer: InstancePeer
        self.over = asyncio.Event()
        self.why = ""
        self.working = 0  # requests whose answer is not in memory yet
        self._sending: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, worker: WorkerProcess, given: Given, app: App, channels: int) -> "OriginalPeer":
        self = cls(app)
        self.peer = await worker.dial(given, self._serve, channels=channels)
        self._watch = asyncio.create_task(self._returns())
        return self

    async def _serve(self, call: Call) -> None:
        if len(call.fields) > 64 or not call.target.startswith("/") or REFUSED_BY_URI.search(call.target):
            self.end("panic")
            return
        self.working += 1
        try:
            try:
                body = await call.body()
            except Gone:
                self._was_reset(call)
                return
            answer = await self.app(call.method, call.target, body)
        finally:
            self.working -= 1
        call.given_up = call.answer_ended = True  # as far as the peer's own bookkeeping goes
        task = asyncio.create_task(self._send(call, answer))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, call: Call, answer: bytes) -> None:
        call.answer_ended = False
        try:
            await call.write(call.head_text(200, [], len(answer)) + answer, end=True)
        except Gone:
            self._was_reset(call)

    def _was_reset(self, call: Call) -> None:
        if call.reset_by_router.done() and call.reset_by_router.result() is not None:
            self.peer.retired = True
            self.why = self.why or "reset"

    async def _returns(self) -> None:
        peer = self.peer
        while not self.over.is_set():
            await peer.sees(lambda: (peer.retired or bool(peer.refusals) or peer.lost.is_set()) and self._is_done())
            # What is on its way to a parked channel, and a moment's work of its own.
            await asyncio.sleep(0)
            if self._is_done():
                self.end(self.why or ("lost" if peer.lost.is_set() else "go-away"))

    def _is_done(self) -> bool:
        return self.peer.lost.is_set() or (self.working == 0 and not self.peer.waits())

    def end(self, why: str) -> None:
        """The invoke returns, or fails: the environment is frozen with whatever it has not sent."""
        self.why = self.why or why
        for task in self._sending:
            task.cancel()
        self.peer.drop()
        self.over.set()

    async def stop(self) -> None:
        for task in [*self._sending, *([self._watch] if self._watch else [])]:
            task.cancel()
        await asyncio.gather(*self._sending, *([self._watch] if self._watch else []), return_exceptions=True)
