"""The process: registers, waits for the application, takes invokes, ends."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from lambda_dispatch_extension import exits, payload
from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.app_process import AppProcess
from lambda_dispatch_extension.dialer import Dialer
from lambda_dispatch_extension.health import HOST, wait_until_healthy
from lambda_dispatch_extension.invoke import AppDown, Invoke
from lambda_dispatch_extension.lambda_api import Api, ApiError, Next, endpoint
from lambda_dispatch_extension.log import say
from lambda_dispatch_extension.options import Options
from lambda_dispatch_net.wire import Hub

ASYNC_INIT_WAIT = 9.5  # s of Lambda's 10 s of init
IN_FLIGHT_PATIENCE = 0.15  # s that requests have when the environment ends; all of the end takes at most 0.3 s
CUT_PATIENCE = 0.02  # s for an invoke to return after that
APP_PATIENCE = 0.08  # s that the application then has before it is killed
API_PATIENCE = 1.0  # s for a last word to the Runtime API
MAX_CONCURRENCY = 64  # loops that wait for invokes, whatever AWS_LAMBDA_MAX_CONCURRENCY says


class Fatal(Exception):
    """This environment is of no use any more: the process ends so that Lambda makes a new one."""


class Service:
    def __init__(self, options: Options, environ: Mapping[str, str], command: Sequence[str]) -> None:
        self.options = options
        self.command = command
        self.api_address = endpoint(environ.get("AWS_LAMBDA_RUNTIME_API", ""))
        concurrency = environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
        self.loops = min(int(concurrency), MAX_CONCURRENCY) if concurrency.isdigit() and concurrency != "0" else 1
        loop = asyncio.get_running_loop()
        self.hub = Hub(loop, say)
        self.pool = AppPool(
            self.hub, HOST, options.port, connect_timeout=options.app_connect, idle_timeout=options.app_idle
        )
        self.dialer = Dialer(options, self.hub)
        self.app: AppProcess | None = None
        self.invokes: set[Invoke] = set()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._app_up: asyncio.Future[None] = loop.create_future()
        self._free = asyncio.Event()  # no invoke is running
        self._free.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Lives as long as the environment and returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            self._spawn(self._live())
            return await self._ended
        finally:
            await self._shut_down()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.append(task)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever goes wrong in a part of the process ends the process, with a word about it."""
        try:
            await work
        except (Fatal, ApiError) as error:
            say(str(error))
            self._end(1)
        except asyncio.CancelledError:
            raise
        except Exception:
            import traceback

            say(traceback.format_exc())
            self._end(1)

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _on_signal(self, number: int) -> None:
        say(f"{signal.Signals(number).name}: ending")
        self._end(0)

    # Birth ------------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        if self.command:
            try:
                self.app = await AppProcess.start(self.command)
            except OSError as error:
                await self._fail_init("AppNotStarted", f"{self.command[0]}: {error.strerror}")
            else:
                self._spawn(self._watch_app(self.app))
        api = Api(*self.api_address)
        try:
            identifier = await api.register()
        finally:
            api.close()
        self._spawn(self._watch_events(identifier))
        self._spawn(self._watch_health())
        await self._init()
        for _ in range(self.loops):
            self._spawn(self._take_invokes())

    async def _init(self) -> None:
        if self.options.async_init:
            await self._wait_for_app(ASYNC_INIT_WAIT - time.process_time())
        elif not await self._wait_for_app(self.options.init_timeout or None):
            await self._fail_init(
                "AppNotHealthy",
                f"the application did not become healthy within {self.options.init_timeout:g} s: GET "
                f"http://{HOST}:{self.options.port}{self.options.health_path}",
            )

    async def _fail_init(self, kind: str, message: str) -> None:
        api = Api(*self.api_address)
        try:
            async with asyncio.timeout(API_PATIENCE):
                await api.fail_init(kind, message)
        except (ApiError, TimeoutError) as error:
            say(f"init/error could not be sent: {error}")
        finally:
            api.close()
        raise Fatal(message)

    async def _watch_app(self, app: AppProcess) -> None:
        why = await app.wait()
        if self._ended.done():
            return
        if not self._app_up.done():
            await self._fail_init("AppExited", why)
        running = list(self.invokes)
        for invoke in running:
            invoke.on_app_died(why)
        if not running:
            raise Fatal(why)

    async def _watch_health(self) -> None:
        await wait_until_healthy(self.options)
        self._app_up.set_result(None)

    async def _wait_for_app(self, patience: float | None) -> bool:
        await asyncio.wait([self._app_up], timeout=patience)
        return self._app_up.done()

    async def _watch_events(self, identifier: str) -> None:
        api = Api(*self.api_address)
        try:
            while await api.next_event(identifier) != "SHUTDOWN":
                pass
        finally:
            api.close()
        self._end(0)

    # Invokes ----------------------------------------------------------------------------------------------------------

    async def _take_invokes(self) -> None:
        api = Api(*self.api_address)
        try:
            while True:
                invocation = await api.next()
                began = time.monotonic()
                try:
                    answer = await self._serve(invocation, began)
                except AppDown as error:
                    await api.fail(invocation.request_id, exits.APP_CONNECTION_ERROR, str(error))
                    raise Fatal(f"invoke failed: {error}") from error
                await api.respond(invocation.request_id, answer)
        finally:
            api.close()

    async def _serve(self, invocation: Next, began: float) -> dict[str, object]:
        try:
            try:
                asked = payload.parse(json.loads(invocation.body))
            except ValueError as error:
                raise payload.InvalidInvoke(f"the payload is not JSON: {error}") from None
        except payload.InvalidInvoke as error:
            say(f"invoke not understood: {error}")
            return payload.answer(error.pool_id, error.lambda_id, 0, 0, exits.INVOKE_INVALID)
        invoke = Invoke(self.options, self.hub, self.pool, self.dialer, asked)
        self.invokes.add(invoke)
        self._free.clear()
        try:
            reason = await invoke.run(invocation.deadline, self._app_ready)
        finally:
            self.invokes.discard(invoke)
            if not self.invokes:
                # Lambda may freeze us now, for minutes: what is kept open would be stale afterwards.
                self.pool.close_idle()
                self._free.set()
        milliseconds = int((time.monotonic() - began) * 1000)
        return payload.answer(asked.pool_id, asked.lambda_id, invoke.ledger.requests, milliseconds, reason)

    async def _app_ready(self) -> None:
        """Within an invoke: the application may still be starting, where init did not wait for it."""
        if self._app_up.done():
            return
        if not await self._wait_for_app(self.options.async_init_timeout):
            raise Fatal(
                f"the application did not become healthy within {self.options.async_init_timeout:g} s of the first "
                "invoke: ending, so that Lambda starts a new environment"
            )

    # Death ------------------------------------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        for invoke in self.invokes:
            invoke.begin_shutdown(IN_FLIGHT_PATIENCE)
        try:
            async with asyncio.timeout(IN_FLIGHT_PATIENCE + CUT_PATIENCE):
                await self._free.wait()
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.abort()
        if self.app is not None:
            await self.app.stop(APP_PATIENCE)
        # Two turns of the loop: what the connections have said last leaves, and their ends are heard.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def serve(options: Options, command: Sequence[str]) -> int:
    return await Service(options, os.environ, command).run()
