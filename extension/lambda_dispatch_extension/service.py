"""The process: registers, waits for the application, serves invokes, shuts down."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lambda_dispatch_extension import exits, payload
from lambda_dispatch_extension.app_h2 import H2App
from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.app_process import AppProcess, environment
from lambda_dispatch_extension.collect import NoAnswer
from lambda_dispatch_extension.dialer import Dialer
from lambda_dispatch_extension.health import INIT_WARNING, Health
from lambda_dispatch_extension.invoke import AppDown, Invoke
from lambda_dispatch_extension.kinds import ROUTER, kind_of
from lambda_dispatch_extension.lambda_api import NAME, Api, ApiError, Next, endpoint
from lambda_dispatch_extension.log import say, say_limited, short
from lambda_dispatch_extension.loop import (
    CancelledError,
    Event,
    Future,
    Task,
    ensure_future,
    gather,
    get_running_loop,
    sleep,
    timeout,
)
from lambda_dispatch_extension.options import APP_PID, EXTENSION_ID, Options, runtime_api
from lambda_dispatch_net.wire import Hub

if TYPE_CHECKING:
    from lambda_dispatch_extension.direct import Direct

ASYNC_INIT_WAIT = 9.5  # s of Lambda's 10 s of init
IN_FLIGHT_PATIENCE = 0.15  # s that requests have when the environment ends; all of the end takes at most 0.3 s
CUT_PATIENCE = 0.02  # s for an invoke to return after that
APP_PATIENCE = 0.08  # s that the application then has before it is killed
PROTOCOL_PAUSE = 0.02  # s between two tries to learn what the application speaks
API_PATIENCE = 1.0  # s for the last call to the Runtime API
EXTENSIONS = "/opt/extensions"
REFUSED = range(400, 500)  # how the Runtime API refuses an answer; 500 means that the process is to exit
FORBIDDEN = 403  # how the Extensions and Runtime API refuse what the sender's state or kind does not allow
MAX_CONCURRENCY = 1600  # invokes at once in one environment, Lambda's own ceiling on managed instances
DIRECT_REFUSED = (
    "this function takes the router's invokes only, because LAMBDA_DISPATCH_DIRECT is off, and this is a direct event "
    "({}): call the router, or unset LAMBDA_DISPATCH_DIRECT"
)
HTTP2_REFUSED = (
    "the application is spoken to in HTTP/2 (LAMBDA_DISPATCH_APP_PROTOCOL=h2c), and direct events ({}) are relayed in "
    "HTTP/1.1: call the router, or set LAMBDA_DISPATCH_APP_PROTOCOL=http1"
)


class Fatal(Exception):
    """This environment cannot serve any more: the process exits, and Lambda starts a new environment."""


class Service:
    def __init__(self, options: Options, environ: Mapping[str, str], command: Sequence[str]) -> None:
        self.options = options
        self.environ = environ
        self.command = command
        api_address = endpoint(runtime_api(environ))
        concurrency = environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
        self.loops = max(1, min(int(concurrency), MAX_CONCURRENCY)) if concurrency.isdecimal() else 1
        loop = get_running_loop()
        loop.on_error = say_error
        self.hub = Hub(loop, say_failure)
        self.api = Api(self.hub, *api_address)
        self.pool = AppPool(
            self.hub, options.host, options.port, connect_timeout=options.app_connect, idle_timeout=options.app_idle
        )
        if options.app_protocol == "h2c":
            self.pool.http2 = self._app_h2()
        self.health = Health(options, self._health_pool())
        self.dialer = Dialer(options, self.hub)
        self.app: AppProcess | None = None
        self.invokes: set[Invoke | Direct] = set()
        # A restored snapshot has connections whose other end may never have existed.
        self.forgetful = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        self._direct: Callable[[Next, str], Direct] | None = None  # once there was a direct event
        self._idle_since = 0.0  # s, wall clock: when the last invoke ended
        self._ended: Future[int] = Future()
        self._app_up = Event()
        self._free = Event()  # no invoke is running
        self._free.set()
        self._tasks: list[Task[None]] = []
        self._began = time.monotonic()

    async def run(self) -> int:
        """Lives as long as the environment and returns the exit code."""
        loop = get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        # The launcher has blocked them, so that none is lost while Python loads.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        try:
            self._spawn(self._live())
            return await self._ended
        finally:
            await self._shut_down()

    def _health_pool(self) -> AppPool:
        options = self.options
        if options.health_port in (0, options.port):
            return self.pool
        return AppPool(
            self.hub,
            options.host,
            options.health_port,
            connect_timeout=options.app_connect,
            idle_timeout=options.app_idle,
        )

    def _app_h2(self) -> H2App:
        options = self.options
        return H2App(self.hub, options.host, options.port, connect_timeout=options.app_connect)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = ensure_future(self._guarded(work))
        self._tasks.append(task)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """A failure of one part is logged and ends the process."""
        try:
            await work
        except (Fatal, ApiError) as error:
            if not self._ended.done():
                say("environment failed", cause=error)
            self._end(1)
        except CancelledError:
            raise
        except Exception as error:
            say_error(error)
            self._end(1)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _on_signal(self, number: int) -> None:
        waited = time.monotonic() - self._began
        name = signal.Signals(number).name
        if not self._app_up.is_set() and waited >= INIT_WARNING:
            say("init interrupted", signal=name, waited=f"{waited:.1f}s", answer=self.health.answer)
        else:
            say("environment ending", signal=name)
        self._end(0)

    # Birth ------------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        started = self.environ.get(APP_PID, "")
        if started.isdigit() and self.command:
            self.app = AppProcess(int(started))
        elif self.command:
            try:
                self.app = AppProcess.start(self.command, environment(self.environ, self.options.port))
            except OSError as error:
                await self._fail_init("AppNotStarted", f"{self.command[0]}: {error.strerror}")
        if self.app is not None:
            self._spawn(self._watch_app(self.app))
        identifier = self.environ.get(EXTENSION_ID, "") or await self._register()
        if identifier:
            self._spawn(self._watch_events(identifier))
        self._spawn(self._watch_health())
        await self._init()
        for _ in range(self.loops):
            self._spawn(self._take_invokes())

    async def _register(self) -> str:
        """Registers with the Extensions API; the identifier, or nothing where Lambda does not want us there.

        A program of /opt/extensions is an external extension and must register. What the entry point starts is an
        internal one: Lambda lets it ask for no SHUTDOWN event, and sends it SIGTERM instead because it has registered.
        """
        if not self.command:
            try:
                return await self.api.register(own_name(), ["SHUTDOWN"])
            except ApiError as error:
                if error.status != FORBIDDEN or external():
                    raise
        try:
            return await self.api.register(NAME, [])
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            # The Runtime API serves without it; all that is lost is the time for an orderly end.
            say("extension not registered", cause=error, effect="Lambda ends the environment without SIGTERM")
            return ""

    async def _init(self) -> None:
        if self.options.async_init:
            await self._wait_for_app(ASYNC_INIT_WAIT - time.process_time())
        elif not await self._wait_for_app(self.options.init_timeout or None):
            await self._fail_init(
                "AppNotHealthy",
                f"the application did not become healthy within {self.options.init_timeout:g} s: "
                f"{self.health.target} gave {self.health.answer}",
            )

    async def _fail_init(self, kind: str, message: str) -> None:
        try:
            async with timeout(API_PATIENCE):
                await self.api.fail_init(kind, message)
        except (ApiError, TimeoutError) as error:
            say("init error not reported", cause=error)
        raise Fatal(message)

    async def _watch_app(self, app: AppProcess) -> None:
        why = await app.wait()
        if self._ended.done():
            return
        if not self._app_up.is_set():
            await self._fail_init("AppExited", why)
        running = list(self.invokes)
        for invoke in running:
            invoke.on_app_died(why)
        if not running:
            raise Fatal(why)

    async def _learn_protocol(self) -> None:
        """Asks once, as soon as the application accepts a connection, whether it speaks HTTP/2."""
        app = self._app_h2()
        while True:
            try:
                if await app.speaks():
                    self.pool.http2 = app
                say("application protocol found", protocol="http1" if self.pool.http2 is None else "h2c")
                return
            except NoAnswer as error:
                self.health.answer = str(error)
                await sleep(PROTOCOL_PAUSE)

    async def _watch_health(self) -> None:
        if self.options.app_protocol == "auto":
            await self._learn_protocol()
        await self.health.wait()
        self._app_up.set()

    async def _wait_for_app(self, patience: float | None) -> bool:
        try:
            async with timeout(patience):
                await self._app_up.wait()
        except TimeoutError:
            pass
        return self._app_up.is_set()

    async def _watch_events(self, identifier: str) -> None:
        while await self.api.next_event(identifier) != "SHUTDOWN":
            pass
        self._end(0)

    # Invokes ----------------------------------------------------------------------------------------------------------

    async def _take_invokes(self) -> None:
        while True:
            invocation = await self._next()
            try:
                await self._serve(invocation)
            except ApiError as error:
                if error.status not in REFUSED:
                    raise
                # The invoke's time is over, or its caller is gone. The environment's other invokes go on.
                say_limited("response refused", status=error.status, cause=error)
            except AppDown as error:
                await self.api.fail(invocation.request_id, exits.APP_CONNECTION_ERROR, str(error))
                raise Fatal(f"invoke failed: {error}") from error

    async def _next(self) -> Next:
        try:
            return await self.api.next()
        except ApiError as error:
            if error.status != FORBIDDEN or self.loops > 1:
                raise
            raise Fatal(
                "another process polls Lambda's Runtime API: the function has a runtime of its own. Let the image's "
                f"ENTRYPOINT start the web application itself, not a Lambda runtime or handler ({error})"
            ) from error

    async def _serve(self, invocation: Next) -> None:
        """Answers one invoke, whatever it is."""
        try:
            value = json.loads(invocation.body)
        except RecursionError:
            value = None  # nested too deeply to be anything of ours; its bytes are passed on
        except ValueError as error:
            answer = refused(payload.InvalidInvoke(f"the payload is not JSON: {error}"))
            await self.api.respond(invocation.request_id, answer)
            return
        kind = kind_of(value)
        if kind == ROUTER:
            await self.api.respond(invocation.request_id, await self._serve_router(value, invocation.deadline))
        elif self.options.app_protocol == "h2c":
            await self.api.fail(invocation.request_id, "DirectEventRefused", HTTP2_REFUSED.format(kind))
        elif self.options.direct:
            await self._serve_event(invocation, kind, value)
        else:
            await self.api.fail(invocation.request_id, "DirectEventRefused", DIRECT_REFUSED.format(kind))

    async def _serve_router(self, value: object, deadline: float | None) -> dict[str, object]:
        began = time.monotonic()
        try:
            asked = payload.parse(value)
        except payload.InvalidInvoke as error:
            return refused(error)
        invoke = Invoke(self.options, self.hub, self.pool, self.dialer, asked)
        self._begin(invoke)
        try:
            reason = await invoke.run(deadline, self._app_ready)
        finally:
            self._over(invoke)
            if not self.invokes:
                # Lambda may freeze the environment now, for minutes: idle connections would be stale afterwards.
                self.pool.close_idle()
        milliseconds = int((time.monotonic() - began) * 1000)
        return payload.answer(asked.pool_id, asked.lambda_id, invoke.ledger.requests, milliseconds, reason)

    async def _serve_event(self, invocation: Next, kind: str, event: Any) -> None:
        if self._direct is None:
            self._direct = self._load_direct()
        direct = self._direct(invocation, kind)
        self._begin(direct)
        try:
            await direct.run(event, self._app_ready)
        finally:
            self._over(direct)
        if direct.app_died:
            raise Fatal(direct.app_died)

    def _load_direct(self) -> "Callable[[Next, str], Direct]":
        """Loads the code for direct events. An environment that is only dispatched to never needs it."""
        from lambda_dispatch_extension.direct import Direct
        from lambda_dispatch_extension.events import env_config

        config = env_config(self.environ)
        return lambda invocation, kind: Direct(self.options, config, self.pool, self.api, invocation, kind)

    def _begin(self, invoke: "Invoke | Direct") -> None:
        if not self.invokes and time.time() - self._idle_since > self.options.app_idle:
            # By the wall clock, which goes on while the environment is frozen.
            self.pool.close_idle()
        self.invokes.add(invoke)
        self._free.clear()

    def _over(self, invoke: "Invoke | Direct") -> None:
        self.invokes.discard(invoke)
        self._idle_since = time.time()
        if not self.invokes:
            if self.forgetful:
                self.pool.close_idle()
            self._free.set()

    async def _app_ready(self) -> None:
        """Within an invoke: the application may still be starting, where init did not wait for it."""
        if self._app_up.is_set():
            return
        if not await self._wait_for_app(self.options.async_init_timeout):
            raise Fatal(
                f"the application did not become healthy within {self.options.async_init_timeout:g} s of the first "
                f"invoke: {self.health.target} gave {self.health.answer}; Lambda starts a new environment"
            )

    # Death ------------------------------------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        for invoke in self.invokes:
            invoke.begin_shutdown(IN_FLIGHT_PATIENCE)
        try:
            async with timeout(IN_FLIGHT_PATIENCE + CUT_PATIENCE):
                await self._free.wait()
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        await gather(*self._tasks, return_exceptions=True)
        self.pool.abort()
        self.api.abort()
        if self.app is not None:
            await self.app.stop(APP_PATIENCE)
        # Two turns of the loop: the connections write what is pending, then close.
        await sleep(0)
        await sleep(0)


def refused(error: payload.InvalidInvoke) -> dict[str, object]:
    say("invoke refused", id=short(error.lambda_id), cause=error)
    return payload.answer(error.pool_id, error.lambda_id, 0, 0, exits.INVOKE_INVALID)


def external() -> bool:
    """Whether Lambda started this program as a file of its extensions directory."""
    return os.path.dirname(sys.argv[0]) == EXTENSIONS


def own_name() -> str:
    """The name that Lambda expects: that of the file in the extensions directory."""
    return os.path.basename(sys.argv[0]) if external() else NAME


def say_failure(trace: str) -> None:
    """A bug of ours: its trace, one log line per line of it."""
    for line in trace.rstrip("\n").split("\n"):
        say("internal error", trace=line)


def say_error(error: BaseException) -> None:
    import traceback

    say_failure("".join(traceback.format_exception(error)))


async def serve(options: Options, command: Sequence[str]) -> int:
    return await Service(options, os.environ, command).run()
