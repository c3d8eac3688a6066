"""A stand-in for Lambda's Invoke API: every invoke becomes an instance peer that dials the router back.

Just enough of Lambda for the router's tests: one route, no environments, no runtime. What an invoke does is a script of
the function it names; the test may look at every invoke and at every peer that came of it.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.instance_peer import Fields, Handler, InstancePeer, says_hello


@dataclass
class Invoke:
    function: str
    qualifier: str | None
    payload: dict[str, Any]
    peer: InstancePeer | None = None
    # What the invoke ends with, when the test or the peer decides it.
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def id(self) -> str:
        return str(self.payload["Id"])

    def end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


@dataclass
class Reply:
    """What the API says instead of running anything."""

    status: int = 200
    body: bytes = b"{}"
    function_error: str | None = None
    error_type: str | None = None


Refusal = Callable[[Invoke], Reply | None]


@dataclass
class Function:
    """The script of one function."""

    handler: Handler = says_hello
    channels: int | None = None  # instead of as many as the invoke asks for
    more_fields: Fields = ()  # on every control call of its instances
    idle_grace: float | None = None  # s without a request after which the instance asks to close; None: it does not
    before_dialling: Callable[[Invoke], Awaitable[None]] | None = None  # a cold start
    refuse: Refusal = lambda invoke: None


class LambdaStandIn:
    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.invokes: list[Invoke] = []
        self.problems: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for invoke in self.invokes:
            if invoke.peer is not None:
                await invoke.peer.leave()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def function(self, name: str) -> Function:
        return self.functions.setdefault(name, Function())

    def of(self, name: str) -> list[Invoke]:
        return [invoke for invoke in self.invokes if invoke.function == name]

    def peers(self, name: str) -> list[InstancePeer]:
        """Those that are connected now."""
        return [i.peer for i in self.of(name) if i.peer is not None and not i.peer.lost.is_set()]

    async def sees(self, condition: Callable[[], bool]) -> None:
        """Waits until something here is so; looked at whenever an invoke begins, dials or ends."""
        if not condition():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((condition, future))
            await future

    def _announce(self) -> None:
        for watcher in list(self._watchers):
            if watcher[0]():
                self._watchers.remove(watcher)
                watcher[1].set_result(None)

    # HTTP

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                line, *rest = head[:-4].split("\r\n")
                fields = {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                reply = await self._invoke(line.split(" ")[1], fields, body)
                writer.write(_text(reply))
                await writer.drain()
                if fields.get("connection") == "close":
                    break
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _invoke(self, target: str, fields: dict[str, str], body: bytes) -> Reply:
        parts = urlsplit(target)
        words = parts.path.split("/")
        if len(words) != 5 or words[2] != "functions" or words[4] != "invocations":
            self.problems.append(f"unknown route {target}")
            return Reply(404, b'{"Message":"no such route"}', error_type="ResourceNotFoundException")
        if not fields.get("authorization", "").startswith("AWS4-HMAC-SHA256"):
            self.problems.append("the invoke is not signed")
        if fields.get("x-amz-invocation-type", "RequestResponse") != "RequestResponse":
            self.problems.append(f"invocation type {fields['x-amz-invocation-type']}")
        qualifier = parts.query.partition("Qualifier=")[2] or None
        invoke = Invoke(unquote(words[3]), qualifier, json.loads(body))
        self.invokes.append(invoke)
        self._announce()
        script = self.function(invoke.function)
        refusal = script.refuse(invoke)
        if refusal is not None:
            return refusal
        if invoke.payload.get("InitOnly"):
            reason = "SelfInitOnly"
        else:
            reason = await self._live(invoke, script)
        self._announce()
        return Reply(
            body=json.dumps(
                {
                    "PoolId": invoke.payload.get("PoolId", "default"),
                    "Id": invoke.id,
                    "RequestCount": len(invoke.peer.calls) if invoke.peer else 0,
                    "InvokeDuration": 0,
                    "ExitReason": reason,
                }
            ).encode()
        )

    async def _live(self, invoke: Invoke, script: Function) -> str:
        """One invoke's life: dial, park, serve; until told to go, idle, lost or ended by the test."""
        if script.before_dialling is not None:
            await script.before_dialling(invoke)
        url = urlsplit(invoke.payload["DispatcherUrl"])
        assert url.hostname is not None and url.port is not None
        channels = invoke.payload["NumberOfChannels"] if script.channels is None else script.channels
        try:
            peer = await InstancePeer.dial(
                url.hostname,
                url.port,
                invoke.id,
                script.handler,
                channels=channels,
                pool=invoke.payload.get("PoolId", "default"),
                more_fields=script.more_fields,
            )
        except OSError:
            return "RouterUnreachable"
        invoke.peer = peer
        self._announce()
        ends = {
            asyncio.ensure_future(peer.told_to_go.wait()): "RouterGoAway",
            asyncio.ensure_future(peer.lost.wait()): "RouterConnectionError",
            asyncio.ensure_future(peer.refused()): "RouterGoAway",
            invoke.ended: "",
        }
        if script.idle_grace is not None:
            ends[asyncio.ensure_future(self._idle(peer, script.idle_grace))] = "SelfLastActive"
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            reason = ends[done.pop()] or invoke.ended.result()
            if not peer.lost.is_set():
                await peer.sees(lambda: peer.in_flight == 0 or peer.lost.is_set())
        finally:
            for task in ends:
                task.cancel()
            await peer.leave()
        return reason

    async def _idle(self, peer: InstancePeer, grace: float) -> None:
        served = -1
        while peer.in_flight or served != len(peer.calls):
            served = len(peer.calls)
            await asyncio.sleep(grace)
        await peer.ask_to_close()


def _text(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} Status", "content-type: application/json", f"content-length: {len(reply.body)}"]
    if reply.function_error is not None:
        lines.append(f"x-amz-function-error: {reply.function_error}")
    if reply.error_type is not None:
        lines.append(f"x-amzn-errortype: {reply.error_type}")
    return "\r\n".join([*lines, "", ""]).encode() + reply.body
