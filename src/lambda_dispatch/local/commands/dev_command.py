"""`lambda-dispatch dev`: an embedded Lambda, the router, and a demo application or one's own, in one command."""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from lambda_dispatch.local.commands import built_bundle
from lambda_dispatch.local.commands.options import (
    RESULT_ERROR,
    USAGE_ERROR,
    Parser,
    UsageError,
    add_direct_options,
    add_knob_options,
    log_line,
    pairs,
    read_knobs,
    split_command,
)
from lambda_dispatch.local.commands.screen import Screen
from lambda_dispatch.local.environment.environment import Environment
from lambda_dispatch.local.environment.process import Process, orphans_adopted, why_ended
from lambda_dispatch.local.function import Function, FunctionConfigError
from lambda_dispatch.local.invocation import Invocation
from lambda_dispatch.local.service.local_lambda import LocalLambda, LocalLambdaConfig, PortError

CHECKOUT = Path(__file__).parents[4]
DEMOS = (Path(__file__).parents[4] / "examples" / "demo" / "app.py", Path(__file__).parents[1] / "demo" / "app.py")
MAX_ENVIRONMENTS = 20  # two processes each; what a laptop bears
READY_WITHIN = 20.0  # seconds the router has to listen
HEALTH_WARNING = 15.0  # seconds without a healthy application after which the user sees a line
DRAIN = 5.0  # seconds requests in flight get after Ctrl-C
STOP_WITHIN = DRAIN + 5.0  # seconds until the router is killed
STATUS_EVERY = 0.5  # seconds
KEPT_LINES = 20  # of the application's and the router's output, to show when one of them fails


class DevError(Exception):
    """Something that ends the run; the message is meant for the user."""


def _parser() -> Parser:
    parser = Parser(
        prog="lambda-dispatch dev",
        usage="lambda-dispatch dev [OPTIONS] [-- COMMAND…]",
        description="Runs an embedded Lambda, the router, and a web application in it: COMMAND, or the demo. COMMAND "
        "must listen on 127.0.0.1 at the port in PORT (and LAMBDA_DISPATCH_PORT) and answer GET /health with 200.",
    )
    parser.add_argument("--app-port", type=int, metavar="PORT", help=(
        "the application listens on this port, whatever PORT says; then there can be one environment only"
    ))  # fmt: skip
    parser.add_argument("--directory", metavar="DIR", help="the application's working directory, default this one")
    parser.add_argument("--extensions-dir", default="", metavar="DIR", help=(
        "start environments as an image with lambda-dispatch in /opt/extensions does: DIR's files, then COMMAND; "
        "default is the bundle that ./run bundle has written in this checkout, if any; none: without"
    ))  # fmt: skip
    parser.add_argument("--function-name", default="app", metavar="NAME", help="name of the function, default app")
    parser.add_argument("--workers", type=int, metavar="N", help="the router's worker processes, default one per CPU")
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help=(
        "for the application; may be repeated (INIT_DELAY=8 makes the demo start slowly)"
    ))  # fmt: skip
    parser.add_argument("--timeout", type=float, default=900.0, help="the function's, in seconds, default 900")
    parser.add_argument("--http-port", type=int, default=5001, metavar="PORT", help="the router's, default 5001")
    parser.add_argument("--control-http-port", type=int, default=5003, metavar="PORT", help=(
        "where instances connect to the router, default 5003"
    ))  # fmt: skip
    parser.add_argument("--lambda-port", type=int, default=5051, metavar="PORT", help=(
        "the embedded Lambda's, default 5051"
    ))  # fmt: skip
    parser.add_argument("--direct-port", type=int, metavar="PORT", help=(
        "also serve the same function here as a function URL does: Lambda's own dispatch, one request per environment"
    ))  # fmt: skip
    add_direct_options(parser)
    parser.add_argument("--verbose", action="store_true", help="show the router's log, and START, END and REPORT lines")
    add_knob_options(parser)
    parser.rename(
        {
            "--function": "--function-name",
            "--port": "--app-port",
            "--router-port": "--http-port",
            "--control-port": "--control-http-port",
        }
    )
    return parser


@dataclass(slots=True)
class Settings:
    """The command line, checked."""

    function: Function
    config: LocalLambdaConfig
    router_port: int  # 0: the router binds any free port and says which
    control_port: int  # the same
    workers: int | None
    max_environments: int
    verbose: bool
    demo: bool
    note: str = ""  # about the bundle


def _settings(given: argparse.Namespace, command: list[str]) -> Settings:
    demo = not command
    if demo:
        command = [sys.executable, str(next(path for path in DEMOS if path.exists()))]
    directory = Path(given.directory or ".").absolute()
    if not directory.is_dir():
        raise UsageError(f"--directory {given.directory}: no such directory")
    if not _can_run(command[0], directory):
        raise UsageError(f"command not found: {command[0]} (in {directory})")
    knobs = read_knobs(given)
    if given.knob_concurrency is None:
        knobs.concurrency = MAX_ENVIRONMENTS
    if knobs.concurrency < 1:
        raise UsageError(f"--max-environments {given.knob_concurrency}: at least 1, or no request is served")
    if given.workers is not None and not 1 <= given.workers <= 64:
        raise UsageError(f"--workers {given.workers}: 1 to 64")
    for option in ("app_port", "http_port", "control_http_port", "lambda_port", "direct_port"):
        port = getattr(given, option)
        if port is not None and not 0 <= port <= 65535:
            raise UsageError(f"--{option.replace('_', '-')} {port}: 0 to 65535")
    extensions, note = given.extensions_dir, ""
    if not extensions:
        extensions, note = built_bundle.find(CHECKOUT)
    elif extensions == built_bundle.NONE:
        extensions = ""
    function = Function(
        name=given.function_name,
        command=tuple(command),
        runtime="provided" if extensions else "dispatch",
        extensions_directory=extensions,
        environment={"LAMBDA_DISPATCH_INVOKE_MODE": given.direct_mode, **pairs(given.env, "--env")},
        timeout=given.timeout,
        directory=str(directory) if given.directory else "",
        port=given.app_port or None,
    )
    config = LocalLambdaConfig(
        [function],
        port=given.lambda_port,
        direct_port=given.direct_port,
        direct_function=function.name,
        direct_event=given.direct_event,
        direct_mode=given.direct_mode,
        knobs=knobs,
    )
    for option, port in (("--http-port", given.http_port), ("--control-http-port", given.control_http_port)):
        if port:
            _refuse_if_taken(option, port)
    return Settings(
        function,
        config,
        router_port=given.http_port,
        control_port=given.control_http_port,
        workers=given.workers,
        max_environments=1 if given.app_port else knobs.concurrency,
        verbose=given.verbose,
        demo=demo,
        note=note,
    )


def _can_run(command: str, directory: Path) -> bool:
    if os.sep in command:  # looked up from the working directory, as execve does
        return os.access(directory / command, os.X_OK)
    return shutil.which(command) is not None


def _refuse_if_taken(option: str, port: int) -> None:
    """One clear message for the user before anything starts; the router binds the port itself."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError as error:
            raise PortError(
                f"port {port} on 127.0.0.1 ({option[2:]}) cannot be used: {(error.strerror or str(error)).lower()}; "
                f"free it or choose another with {option}"
            ) from None


@dataclass(slots=True)
class Dev:
    settings: Settings
    screen: Screen
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str = ""
    router: Process | None = None
    router_pid: int = 0
    app_lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    router_lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    async def run(self) -> None:
        self.screen.on_closed = self.stop.set  # nothing reads the output any more: `dev | head`
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        local = LocalLambda(self.settings.config, self._write_log)
        await local.start()
        with orphans_adopted():
            await self._serve(local)
        if self.failure:
            raise DevError(self.failure)
        self.screen.say("stopped; no process is left")

    async def _serve(self, local: LocalLambda) -> None:
        tasks: list[asyncio.Task[None]] = []
        try:
            ready = await self._start_router(local)
            if not self.stop.is_set():
                self.screen.say(self._banner(local, ready))
                jobs = (self._first_environment(local, ready), self._show_status(local))
                tasks = [asyncio.create_task(job) for job in jobs]
                await self.stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.screen.end()
            self.screen.say("stopping")
            await self._stop_router()
            await local.close()

    def _on_signal(self) -> None:
        if self.stop.is_set() and self.router is not None:
            self.router.signal(signal.SIGKILL)  # the second Ctrl-C does not wait for requests in flight
        self.stop.set()

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why
        self.stop.set()

    # the router

    async def _start_router(self, local: LocalLambda) -> dict[str, Any]:
        settings = self.settings
        read_end, write_end = os.pipe()
        command = [
            *(sys.executable, "-m", "lambda_dispatch.cli", "router"),
            *("--function-name", settings.function.name),
            *("--bind-host", "127.0.0.1", "--http-port", str(settings.router_port)),
            *("--control-http-port", str(settings.control_port), "--allow-insecure-control=true"),
            *("--preferred-control-scheme", "http", "--callback-host", "127.0.0.1"),
            *("--max-instances", str(settings.max_environments)),
            *("--admin-port=0", "--admin-open-control=true"),
            *("--lame-duck", "0", "--drain-deadline", str(DRAIN)),
            *("--log-level", "info" if settings.verbose else "warning"),
            *("--ready-fd", str(write_end)),
        ]
        if settings.workers is not None:
            command += ["--workers", str(settings.workers)]
        try:
            try:
                self.router = Process(
                    tuple(command),
                    _router_variables(local.url),
                    "",
                    local.guard,
                    self._router_output,
                    self._router_ended,
                    pass_fds=(write_end,),
                )
            finally:
                os.close(write_end)
            return await self._read_ready(read_end)
        finally:
            os.close(read_end)

    async def _read_ready(self, fd: int) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        data = bytearray()
        done = asyncio.Event()

        def readable() -> None:
            piece = os.read(fd, 4096)
            data.extend(piece)
            if not piece or b"\n" in data:
                done.set()

        loop.add_reader(fd, readable)
        waits = [loop.create_task(done.wait()), loop.create_task(self.stop.wait())]
        try:
            await asyncio.wait(waits, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(fd)
            for task in waits:
                task.cancel()
        if self.stop.is_set():
            return {}
        if b"\n" not in data:
            assert self.router is not None
            if self.router.alive and not data:
                await asyncio.wait([self.router.ended], timeout=1)
            self._fail(self.failure or f"the router did not start within {READY_WITHIN:g} s")
            return {}
        ready: dict[str, Any] = json.loads(data.split(b"\n")[0])
        self.router_pid = int(ready.get("pid", 0))
        return ready

    def _router_output(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            self.router_lines.append(line)
            self.screen.say(f"router  {line}")

    def _router_ended(self, process: Process) -> None:
        if not self.stop.is_set():
            self._fail(f"the router ended by itself ({why_ended(process.status)}); its last words are above")

    async def _stop_router(self) -> None:
        if self.router is None:
            return
        self.router.signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self.router.ended], timeout=STOP_WITHIN)
        if not done:
            self.screen.say(f"the router did not stop within {STOP_WITHIN:g} s and was killed")
            self.router.signal(signal.SIGKILL)
        await asyncio.shield(self.router.ended)

    # the application

    async def _first_environment(self, local: LocalLambda, ready: dict[str, Any]) -> None:
        """Starts one environment: the first request meets a warm one, and an application that fails is heard of."""
        payload = {
            "Id": str(uuid.uuid4()),
            "DispatcherUrl": f"http://127.0.0.1:{ready['control_http']}/api/chunked",
            "NumberOfChannels": 0,
            "SentTime": datetime.now(UTC).isoformat(),
            "InitOnly": True,
        }
        function = self.settings.function
        invocation = Invocation(json.dumps(payload).encode(), function.arn)
        local.fleet.invoke(local.fleet.pools[function.name], invocation)
        done, _ = await asyncio.wait([invocation.answer], timeout=HEALTH_WARNING + self._cold_start_allowance())
        if not done:
            (where, *_) = [e.port for e in local.fleet.environments()] or [0]
            self.screen.say(
                f"the application has not answered GET http://127.0.0.1:{where}/health with 200 for "
                f"{HEALTH_WARNING:g} s; still waiting. It must listen on 127.0.0.1 at $PORT (here {where}); "
                "if it cannot, say where it listens: --app-port ITS_PORT"
            )
        answer = await asyncio.shield(invocation.answer)
        if answer.error is None:
            self.screen.say("the first environment is ready")
        else:
            last = "".join(f"\n    {line}" for line in self.app_lines)
            why = json.loads(answer.payload).get("errorMessage", "")
            self._fail(f"the application did not start: {' '.join(function.command)}\n    {why}{last}")

    def _cold_start_allowance(self) -> float:
        knobs = self.settings.config.knobs
        return knobs.cold_start.draw(knobs.random)

    def _write_log(self, environment: Environment | None, source: str, line: str) -> None:
        if source == "function":
            if self.stop.is_set() and line.startswith("lambda-dispatch extension:"):
                return  # every one of them says that it ends
            self.app_lines.append(line)
        if source != "platform" or self.settings.verbose:
            self.screen.say(log_line(environment, line))

    # what is shown

    def _banner(self, local: LocalLambda, ready: dict[str, Any]) -> str:
        settings = self.settings
        base = f"http://127.0.0.1:{ready['http']}"
        what = "the demo application" if settings.demo else " ".join(settings.function.command)
        many = f"at most {settings.max_environments} environments"
        at_most = "one environment, as its port is fixed" if settings.function.port else many
        lines = [
            *([f"admin page         http://127.0.0.1:{ready['admin']}/"] if "admin" in ready else []),
            f"router             {base}",
            f"embedded Lambda    {local.url}   ({own_command()} lambda ctl --url {local.url} list)",
            f"application        {what}   ({at_most})",
        ]
        if settings.note:
            lines.append(f"extension          {settings.note}")
        if settings.config.direct_port is not None:
            lines.append(f"direct mode        http://127.0.0.1:{local.direct_port}   (one request per environment)")
        lines += ["", "try:"]
        if settings.demo:
            lines += [
                f"    curl {base}/ping",
                f"    curl {base}/",
                f"    curl -N {base}/chunked-response",
                f"    curl -N {base}/sse",
                f"    curl --data-binary hello {base}/echo",
                f"    curl -o image.png {base}/public/image.png",
            ]
        else:
            lines.append(f"    curl -i {base}/")
        return "\n".join([*lines, "", "Ctrl-C stops everything.", ""])

    async def _show_status(self, local: LocalLambda) -> None:
        loop = asyncio.get_running_loop()
        before: tuple[float, int] | None = None
        while True:
            await asyncio.sleep(STATUS_EVERY)
            now = loop.time()
            found = _pool_status(self.router_pid)
            counts = local.fleet.statistics()[self.settings.function.name]
            rate = 0.0
            if found is not None:
                completed = int(found["completions"])
                rate = 0.0 if before is None else max(0, completed - before[1]) / (now - before[0])
                before = (now, completed)
            self.screen.status(status_forms(counts, found, rate), now)


def status_forms(counts: Mapping[str, Any], pool: Mapping[str, Any] | None, rate: float) -> list[str]:
    """The status line at its full length, and shorter for narrower terminals."""
    environments, idle = counts["environments"], counts["idle"]
    if pool is None:
        return [f"{environments} environments, {idle} idle"]
    starting, opened, draining = pool["starting"], pool["open"], pool["draining"]
    queued, in_flight = pool["queued"], pool["in_flight"]
    return [
        f"{starting} starting, {opened} open, {draining} draining · queue {queued} · in flight {in_flight} · "
        f"{rate:.0f} req/s · {environments} environments, {idle} idle",
        f"{starting} starting, {opened} open · queue {queued} · in flight {in_flight} · {rate:.0f} req/s · "
        f"{environments} env",
        f"{opened} open · queue {queued} · in flight {in_flight} · {rate:.0f} req/s",
        f"queue {queued} · in flight {in_flight}",
    ]


def own_command() -> str:
    """How this program is typed here: its bare name where PATH finds this installation, else its path."""
    installed = Path(sys.prefix) / "bin" / "lambda-dispatch"
    if not installed.exists():
        return f"{sys.executable} -m lambda_dispatch.cli"
    found = shutil.which("lambda-dispatch")
    if found is not None and Path(found).resolve() == installed.resolve():
        return "lambda-dispatch"
    with contextlib.suppress(ValueError):
        return shlex.quote(str(installed.relative_to(Path.cwd())))
    return shlex.quote(str(installed))


def _router_variables(endpoint: str) -> dict[str, str]:
    """The caller's environment with the Lambda client pointed here, and without real credentials."""
    variables = dict(os.environ)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_LAMBDA_SERVICE_URL", "AWS_ENDPOINT_URL"):
        variables.pop(name, None)
    variables.update(
        AWS_ENDPOINT_URL_LAMBDA=endpoint,
        AWS_ACCESS_KEY_ID="local",
        AWS_SECRET_ACCESS_KEY="local",
        AWS_REGION="us-east-1",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    return variables


def _pool_status(router_pid: int) -> dict[str, Any] | None:
    """The first pool of the router, as its shared memory has it; None when it cannot be read."""
    from lambda_dispatch.telemetry import status, view
    from lambda_dispatch_core.board.board import BoardError

    try:
        board = status.open_board(router_pid)
    except (status.NoRouter, BoardError, OSError):
        return None
    try:
        pools = view.take(board, time.monotonic_ns(), time.time_ns()).document()["pools"]
        return pools[0] if pools else None
    finally:
        board.close()


def main(argv: list[str]) -> int:
    options, command = split_command(argv)
    parser = _parser()
    given, unknown = parser.parse_known_args(parser.current(options))
    if unknown:
        parser.error(not_understood(unknown, [*argv]))
    screen = Screen()
    try:
        uvloop.run(_run(given, command, screen))
    except (UsageError, FunctionConfigError) as error:
        print(f"lambda-dispatch dev: {error}", file=sys.stderr)
        return USAGE_ERROR
    except (PortError, DevError) as error:
        print(f"lambda-dispatch dev: {error}", file=sys.stderr)
        return RESULT_ERROR
    return 0


def not_understood(unknown: list[str], argv: list[str]) -> str:
    """What to say of arguments that are no option: most often an application's command without `--` before it."""
    first = next((word for word in unknown if not word.startswith("-")), None)
    if first is None or unknown[0].startswith("-"):
        return f"unknown option {unknown[0]}; lambda-dispatch dev --help lists the options"
    at = argv.index(first)
    words = shlex.join([*argv[:at], "--", *argv[at:]])
    return f"{first!r} is not an option; put -- before the application's command: {own_command()} dev {words}"


async def _run(given: argparse.Namespace, command: list[str], screen: Screen) -> None:
    await Dev(_settings(given, command), screen).run()
