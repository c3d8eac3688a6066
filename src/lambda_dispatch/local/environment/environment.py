"""An execution environment: real processes, and the state machine Lambda puts around them.

    STARTING ──► INITIALIZING ──► IDLE ⇄ BUSY
        └──────────────┴────────────┴──────┴──► STOPPING ──► GONE

An environment is made for one invoke. It waits out the cold start and starts the external extensions: the function's
commands and every file of its extensions directory. When all of them have registered under the name of their file, it
starts the runtime. Any other process of the environment may register too, as an internal extension, and without
SHUTDOWN, as in AWS. Init is over when a process has asked for the next invoke and every registered extension for its
next event. If that takes longer than the init limit, or fails, the processes are killed and started again within the
invoke, on the function's own time.

The environment is free again (and frozen) when runtime and extensions have asked for the next event. The caller is
answered then, or a moment after the runtime's response if the extensions take longer. One process may be both runtime
and extension, and an external extension may take the invokes in place of the runtime process: lambda-dispatch's
extension does either.

A function with a concurrency per environment has environments as on Lambda Managed Instances: several invokes at once,
each over with its response, never frozen; a timeout ends its invoke alone, and extensions get no INVOKE.

Nothing here knows HTTP: runtime_api.py turns requests into calls of the `runtime_*` and `extension_*` methods.
"""

import asyncio
import contextlib
import enum
import os
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from lambda_dispatch.local.environment.invokes import Invokes
from lambda_dispatch.local.environment.process import Guard, Process, family, free_port, memory, why_ended
from lambda_dispatch.local.function import LATEST, Function
from lambda_dispatch.local.invocation import Answer, Invocation, failure
from lambda_dispatch.local.knobs import Knobs
from lambda_dispatch_net.http_server import BodyStream

INTERNAL_SHUTDOWN = 0.5  # seconds Lambda gives when only the runtime process has extensions
EXTERNAL_SHUTDOWN = 2.0  # and when there are external ones
RUNTIME_SHARE = 0.3  # of that, what the runtime gets before the extensions do
MAX_EXTENSIONS = 10  # Lambda's limit per function
TIMEOUT = "Sandbox.Timedout"
NO_SHUTDOWN = "ShutdownEventNotSupportedForInternalExtension"  # Lambda's own word
# Seconds a caller waits for the environment to be free again, so that its next invoke finds it; answered then anyway.
ANSWER_WAIT = 0.05
MAX_LINE = 64 * 1024  # of output without a line end before it is passed on as it is
MEMORY_LOOK = 1.0  # seconds between two looks at the processes' memory


class State(enum.Enum):
    STARTING = "starting"
    INITIALIZING = "initializing"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"
    GONE = "gone"


class ApiError(Exception):
    """A call of the Runtime or Extensions API that is refused."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


class Api(Protocol):
    """The address of the environment's Runtime and Extensions API."""

    async def start(self) -> str: ...
    async def close(self) -> None: ...


@dataclass(slots=True)
class Extension:
    name: str
    events: frozenset[str]
    external: bool
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    queue: deque[dict[str, Any]] = field(default_factory=deque)
    waiting: asyncio.Future[None] | None = None
    ready: bool = False  # asked for an event it does not have yet

    def push(self, event: dict[str, Any]) -> None:
        self.queue.append(event)
        self.ready = False
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)


@dataclass(frozen=True, slots=True)
class InitFailure:
    status: str  # timeout or error, as INIT_REPORT says it
    kind: str
    message: str
    answer: Answer | None = None  # what the runtime itself had to say
    final: bool = False  # not worth a second try


class Environment:
    def __init__(
        self,
        function: Function,
        knobs: Knobs,
        guard: Guard,
        ports: set[int],
        make_api: Callable[["Environment"], Api],
        write_log: Callable[["Environment", str, str], None],
        on_idle: Callable[["Environment"], None],
        on_gone: Callable[["Environment"], None],
        tenant: str | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.function = function
        self.tenant = tenant  # the only one that it serves, where the function isolates tenants
        self.state = State.STARTING
        self.created = time.time()
        self.served = 0
        self.held = False  # frozen by hand until thawed by hand
        self.frozen = False
        self.invokes = Invokes(function.environment_concurrency)
        self.extensions: dict[str, Extension] = {}
        self.processes: list[Process] = []
        self.port = 0
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._knobs = knobs
        self._guard = guard
        self._ports = ports
        self._api = make_api(self)
        self._write_log = write_log
        self._on_idle = on_idle
        self._on_gone = on_gone
        self._address = ""
        self._runtime: Process | None = None
        self._runtime_ready = False
        self._external: set[str] = set()  # names of the files that were started as extensions
        self._init: asyncio.Future[InitFailure | None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._timers: dict[str, list[asyncio.TimerHandle]] = {}  # by request id
        self._line = b""
        self._memory = 0
        self._memory_looked = 0.0

    # what the fleet asks for

    def serve(self, invocation: Invocation) -> None:
        """Takes an invoke; the fleet gives no more than there is room for."""
        self.invokes.add(invocation)
        invocation.environment_id = self.id
        if self._starting is None:
            self._starting = self._loop.create_task(self._start(invocation))
        elif self.state not in (State.STARTING, State.INITIALIZING):
            self._begin(invocation)

    def has_room(self) -> bool:
        return self.state not in (State.STOPPING, State.GONE) and self.invokes.free > 0

    def stop(self, reason: str = "spindown") -> asyncio.Future[None]:
        """SHUTDOWN, SIGTERM, SIGKILL within the documented budgets; the future is done when nothing is left."""
        if self._stopping is None and self.state is not State.GONE:
            self.state = State.STOPPING
            self._stopping = self._loop.create_task(self._stop(reason))
        return self.gone

    def kill(self) -> None:
        """As if the machine under it had died: no event, no signal to catch."""
        for process in self.processes:
            process.signal(signal.SIGKILL)
        if not self.processes:
            self._fail("failure", "Runtime.ExitError", "Runtime exited with error: signal: killed")

    def freeze(self, *, by_hand: bool = False) -> None:
        self.held = self.held or by_hand
        self.frozen = True
        for process in self.processes:
            process.signal(signal.SIGSTOP)

    def thaw(self, *, by_hand: bool = False) -> None:
        if by_hand:
            self.held = False
            if self.state is State.IDLE and self._knobs.freeze:
                return  # it stays frozen as any idle environment
        if self.frozen and not self.held:
            self.frozen = False
            for process in self.processes:
                process.signal(signal.SIGCONT)

    def describe(self) -> dict[str, Any]:
        first = self.invokes.first
        return {
            "id": self.id,
            "function": self.function.name,
            "state": self.state.value,
            "frozen": self.frozen,
            "held": self.held,
            "pids": [process.pid for process in self.processes if process.alive],
            "port": self.port,
            "runtime_api": self._address,
            "served": self.served,
            "age_s": round(time.time() - self.created, 3),
            "running": len(self.invokes),
            "request_id": first.request_id if first else None,
            "event": first.short_payload() if first else None,
            "tenant": self.tenant,
            "extensions": [extension.name for extension in self.extensions.values()],
        }

    # cold start

    async def _start(self, invocation: Invocation) -> None:
        try:
            await self._cold_start(invocation)
        except Exception as error:  # the caller must be answered whatever went wrong here
            self._fail("failure", "Runtime.Unknown", f"the environment did not start: {error!r}")

    async def _cold_start(self, invocation: Invocation) -> None:
        await asyncio.sleep(self._knobs.cold_start.draw(self._knobs.random))
        try:
            self._address = await self._api.start()
            self.port = self.function.port or free_port(self._ports)
        except OSError as error:
            self._fail("failure", "Runtime.ExitError", f"no address for the environment: {error.strerror or error}")
            return
        self._ports.add(self.port)
        self.state = State.INITIALIZING
        began = time.monotonic()
        at_least = self._knobs.init_at_least.draw(self._knobs.random)
        failed = await self._initialize(self.function.init_timeout)
        if failed is None:
            await asyncio.sleep(began + at_least - time.monotonic())
        spent = (time.monotonic() - began) * 1000
        for process in self.processes:
            process.look()  # what was started during init is known from here on
        if failed is None:
            invocation.init_ms = spent
            for each in self.invokes:
                self._begin(each)
            return
        how = f"Phase: init\tStatus: {failed.status}\tError Type: {failed.kind}"
        self.log(f"INIT_REPORT Init Duration: {spent:.2f} ms\t{how}")
        if failed.final:
            self._give_up(failed)
            return
        await self._end_processes()
        waiting = list(self.invokes)
        for each in waiting:
            self._begin_clock(each)
        failed = await self._initialize(None)
        if failed is None:
            for each in waiting:
                self._deliver(each)
        else:
            self._give_up(failed)

    def _give_up(self, failed: InitFailure) -> None:
        for invocation in self.invokes:
            if failed.answer is not None:
                invocation.settle(failed.answer)
        self._fail("failure", failed.kind, failed.message)

    async def _initialize(self, limit: float | None) -> InitFailure | None:
        self._init = self._loop.create_future()
        commands = self.function.external_extensions()
        self._external = {os.path.basename(command[0]) for command in commands}
        if len(commands) > MAX_EXTENSIONS:
            what = f"{len(commands)} extensions; Lambda starts at most {MAX_EXTENSIONS}"
            self._init_over(InitFailure("error", "Extension.LaunchError", what, final=True))
            commands = ()
        for command in commands:
            variables = self._variables()
            for name in ("_HANDLER", "AWS_EXECUTION_ENV"):
                variables.pop(name, None)
            self._spawn(command, variables, "Extension.LaunchError")
        if not commands and not self._init.done():
            self._spawn_runtime()
        try:
            async with asyncio.timeout(limit):
                return await self._init
        except TimeoutError:
            return InitFailure("timeout", TIMEOUT, f"Task timed out after {limit:.2f} seconds")
        finally:
            self._init = None

    def _variables(self) -> dict[str, str]:
        day = time.strftime("%Y/%m/%d", time.gmtime(self.created))
        return self.function.variables(self._address, f"{day}/[{LATEST}]{self.id}", self.port)

    def _spawn(
        self, command: tuple[str, ...], variables: dict[str, str], failed: str = "Runtime.InvalidEntrypoint"
    ) -> Process | None:
        try:
            process = Process(command, variables, self.function.directory, self._guard, self._output, self._exited)
        except OSError as error:
            # cwd and command fail alike; the message says which file.
            what = f"fork/exec {error.filename or command[0]}: {os.strerror(error.errno or 0).lower()}"
            self._init_over(InitFailure("error", failed, what, final=True))
            return None
        self.processes.append(process)
        return process

    def _spawn_runtime(self) -> None:
        self._runtime = self._spawn(self.function.runtime_command(), self._variables())

    def _init_over(self, failed: InitFailure | None) -> None:
        if self._init is not None and not self._init.done():
            self._init.set_result(failed)

    async def _end_processes(self) -> None:
        processes, self.processes = self.processes, []
        self._runtime = None
        self._runtime_ready = False
        self.invokes.restart()
        self.extensions.clear()
        for process in processes:
            process.signal(signal.SIGKILL)
        for process in processes:
            await asyncio.shield(process.ended)

    # one invoke

    def _begin(self, invocation: Invocation) -> None:
        self._begin_clock(invocation)
        self._deliver(invocation)

    def _begin_clock(self, invocation: Invocation) -> None:
        self.state = State.BUSY
        timeout = self.function.timeout
        told = time.time() + timeout + self._knobs.deadline_offset
        invocation.begin(time.monotonic(), int(told * 1000))
        self._later(invocation, timeout, self._timed_out, invocation)
        self.log(f"START RequestId: {invocation.request_id} Version: {invocation.version}", invocation)

    def _later(self, invocation: Invocation, seconds: float, callback: Callable[..., object], *args: object) -> None:
        """Calls back unless the invoke is over by then."""
        timers = self._timers.setdefault(invocation.request_id, [])
        timers.append(self._loop.call_later(seconds, callback, *args))

    def _deliver(self, invocation: Invocation) -> None:
        self.thaw()
        if self._knobs.crash_rate and self._knobs.random.random() < self._knobs.crash_rate:
            after = self._knobs.crash_after.draw(self._knobs.random)
            self._later(invocation, after, self.kill)
        for extension in self.extensions.values():
            if "INVOKE" in extension.events:
                extension.push(
                    {
                        "eventType": "INVOKE",
                        "deadlineMs": invocation.deadline_ms,
                        "requestId": invocation.request_id,
                        "invokedFunctionArn": invocation.arn,
                        "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id},
                    }
                )
        self._runtime_ready = False
        self.invokes.deliver(invocation)

    def _finished(self, invocation: Invocation) -> None:
        assert invocation.response is not None
        self._close_invocation(invocation)
        self.served += 1
        self._check_idle()
        invocation.settle(invocation.response)

    def _check_idle(self) -> None:
        if len(self.invokes) == 0:
            self.state = State.IDLE
            if self.held or (self._knobs.freeze and not self.function.managed):
                self.freeze()
            self._on_idle(self)

    def _close_invocation(self, invocation: Invocation, how: str = "") -> None:
        for timer in self._timers.pop(invocation.request_id, []):
            timer.cancel()
        self.invokes.close(invocation)
        for process in self.processes:
            process.read_pending()
        self._look_at_memory()
        report = invocation.finish(time.monotonic(), self.function.memory, max(1, self._memory >> 20)) + how
        for line in (f"END RequestId: {invocation.request_id}", report):
            invocation.add_log(line.encode() + b"\n")
            self._write_log(self, "platform", line)
        invocation.finished.set_result(None)

    def _look_at_memory(self) -> None:
        now = self._loop.time()
        if self._memory_looked and now - self._memory_looked < MEMORY_LOOK:
            return
        self._memory_looked = now
        pids = [pid for process in self.processes if process.alive for pid in family(process.pid)]
        self._memory = max(self._memory, memory(pids))

    def _timed_out(self, invocation: Invocation) -> None:
        message = f"Task timed out after {self.function.timeout:.2f} seconds"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        self.log(f"{stamp}.000Z {invocation.request_id} {message}", invocation)
        if self.function.managed and self._init is None:  # the environment and its other invokes go on
            self._fail_invocation(invocation, "timeout", TIMEOUT, message)
            self._check_idle()
        else:
            self._fail("timeout", TIMEOUT, message)

    def _fail(self, reason: str, kind: str, message: str) -> None:
        """The end of this environment, and of the invokes it had."""
        self._init_over(InitFailure("error", kind, message, final=True))
        for invocation in self.invokes:
            self._fail_invocation(invocation, reason, kind, message)
        self.stop(reason)

    def _fail_invocation(self, invocation: Invocation, reason: str, kind: str, message: str) -> None:
        for process in self.processes:
            process.read_pending()
        self.log(f"{invocation.request_id} Error: {message} {kind}", invocation)
        invocation.settle(failure(kind, message, invocation.request_id))
        status = "timeout" if reason == "timeout" else f"error\tError Type: {kind}"
        self._close_invocation(invocation, f"Status: {status}")

    def _exited(self, process: Process) -> None:
        if process not in self.processes or self.state in (State.STOPPING, State.GONE):
            return
        if process is self._runtime:
            kind = "Runtime.ExitError"
            message = (
                "Runtime exited without providing a reason"
                if process.status == 0
                else f"Runtime exited with error: {why_ended(process.status)}"
            )
        else:
            kind, message = "Extension.Crash", f"Extension {process.name}: {why_ended(process.status)}"
        if self._init is not None and not self._init.done():
            self._init_over(InitFailure("error", kind, message))
        else:
            self._fail("failure", kind, message)

    def _check_settled(self) -> None:
        """Runtime and extensions all wait for their next event: init is over, or the invoke is."""
        if not self._runtime_ready or not all(extension.ready for extension in self.extensions.values()):
            return
        if self._init is not None:
            if self._all_registered():
                self._init_over(None)
            return
        for invocation in self.invokes:
            if invocation.response is not None:
                self._finished(invocation)

    # Runtime API

    async def runtime_next(self) -> Invocation:
        if self.invokes.all_taken:
            raise ApiError(403, "InvalidStateTransition", "the current invocation has no response yet")
        self._runtime_ready = True
        self._check_settled()
        return await self.invokes.take()

    def runtime_stream(self, request_id: str) -> BodyStream | None:
        """What takes the runtime's streamed response, if its caller wants it so and the runtime has the invoke."""
        invocation = self.invokes.taken(request_id)
        if invocation is None or invocation.stream is None or invocation.stream.done():
            return None
        stream = BodyStream()
        invocation.stream.set_result(stream)
        return stream

    def runtime_respond(self, request_id: str, answer: Answer) -> None:
        invocation = self.invokes.taken(request_id)
        self.invokes.answered(request_id)
        if invocation is None:
            if any(each.request_id == request_id and each.response is not None for each in self.invokes):
                raise ApiError(403, "InvalidStateTransition", "the invocation already has a response")
            raise ApiError(400, "InvalidRequestID", "Invalid request ID")
        for process in self.processes:
            process.read_pending()
        invocation.response = answer
        if self.function.managed:
            self._finished(invocation)
        else:
            self._later(invocation, ANSWER_WAIT, invocation.settle, answer)

    def runtime_init_error(self, kind: str, answer: Answer) -> None:
        if self._init is None:
            raise ApiError(403, "InvalidStateTransition", "init is over")
        self._init_over(InitFailure("error", kind, kind, answer))

    # Extensions API

    def extension_register(self, name: str, events: frozenset[str]) -> Extension:
        external = name in self._external
        for event in sorted(events):
            if event not in ("INVOKE", "SHUTDOWN"):
                raise ApiError(403, "Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
            if event == "INVOKE" and self.function.managed:
                raise ApiError(403, "Extension.InvalidEventType", f"{event}: not on managed instances")
            if event == "SHUTDOWN" and not external:
                raise ApiError(403, "Extension.InvalidEventType", f"{event}: {NO_SHUTDOWN}")
        if any(extension.name == name for extension in self.extensions.values()):
            raise ApiError(403, "Extension.InvalidExtensionState", f"extension {name} is registered already")
        if self._init is None or (self._runtime_ready and not external):
            raise ApiError(403, "Extension.RegistrationClosed", "Extension registration closed already")
        if len(self.extensions) >= MAX_EXTENSIONS:
            raise ApiError(403, "Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
        extension = Extension(name, events, external)
        for process in self.processes:
            process.look()
        self.extensions[extension.id] = extension
        if external and self._runtime is None and self._all_registered():
            self._spawn_runtime()
        return extension

    def _all_registered(self) -> bool:
        return self._external <= {extension.name for extension in self.extensions.values()}

    async def extension_next(self, extension: Extension) -> dict[str, Any]:
        if not extension.queue:
            extension.ready = True
            extension.waiting = waiting = self._loop.create_future()
            self._check_settled()
            try:
                await waiting
            finally:
                if extension.waiting is waiting:
                    extension.waiting = None
        return extension.queue.popleft()

    def extension_failed(self, extension: Extension, kind: str, *, during_init: bool) -> None:
        message = f"Extension {extension.name}: {kind}"
        if during_init and self._init is not None:
            self._init_over(InitFailure("error", kind, message))
        elif self.state is not State.STOPPING:
            self._fail("failure", kind, message)

    # the end

    async def _stop(self, reason: str) -> None:
        if self._starting is not None and self._starting is not asyncio.current_task():
            self._starting.cancel()
        for invocation in self.invokes:  # stopped from outside while it served
            invocation.settle(
                failure("Runtime.ExitError", "Runtime exited with error: signal: killed", invocation.request_id)
            )
            self._close_invocation(invocation)
        try:
            self.held = False
            self.thaw()
            for process in self.processes:
                process.signal(signal.SIGCONT)
            await self._farewell(reason)
        finally:
            await self._end_processes()
            await self._api.close()
            self._flush_line()
            self._ports.discard(self.port)
            self.state = State.GONE
            self.gone.set_result(None)
            self._on_gone(self)

    async def _farewell(self, reason: str) -> None:
        external = any(extension.external for extension in self.extensions.values())
        runtime = [self._runtime] if self._runtime is not None and self._runtime.alive else []
        if not self.extensions or (reason == "timeout" and not external):
            return
        budget = EXTERNAL_SHUTDOWN if external else INTERNAL_SHUTDOWN
        until = self._loop.time() + budget
        for process in runtime:
            process.signal(signal.SIGKILL if reason == "timeout" else signal.SIGTERM)
        if not external:
            await self._wait_ended(self.processes, until)
            return
        await self._wait_ended(runtime, self._loop.time() + budget * RUNTIME_SHARE)
        for process in runtime:
            process.signal(signal.SIGKILL)
        listening = {e.name for e in self.extensions.values() if e.external and "SHUTDOWN" in e.events}
        for extension in self.extensions.values():
            if extension.external:
                self._push_shutdown(extension, reason, until - self._loop.time())
        for process in self.processes:
            if process.name not in listening:
                process.signal(signal.SIGKILL)
        await self._wait_ended(self.processes, until)

    def _push_shutdown(self, extension: Extension, reason: str, seconds: float) -> None:
        if "SHUTDOWN" in extension.events:
            deadline = int((time.time() + seconds) * 1000)
            extension.push({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline})

    async def _wait_ended(self, processes: list[Process], until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                for process in processes:
                    await asyncio.shield(process.ended)

    # log

    def log(self, line: str, of: Invocation | None = None) -> None:
        """A line about one invoke, or about all."""
        for invocation in self.invokes if of is None else [of]:
            invocation.add_log(line.encode() + b"\n")
        self._write_log(self, "platform", line)

    def _output(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._output_line(line)
        if len(self._line) > MAX_LINE:
            self._flush_line()

    def _flush_line(self) -> None:
        line, self._line = self._line, b""
        if line:
            self._output_line(line)

    def _output_line(self, line: bytes) -> None:
        for invocation in self.invokes:
            invocation.add_log(line + b"\n")
        self._write_log(self, "function", line.decode("utf-8", "replace"))
