"""The admin API: routes and documents; docs/operations.md lists them. It reads; commands go to the supervisor."""

import asyncio
import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import resources
from typing import Any

from lambda_dispatch.admin import commands, decisions, lives, openapi
from lambda_dispatch.admin.access import Gate, Refusal
from lambda_dispatch.admin.history import SERIES, SPANS, History
from lambda_dispatch.admin.readiness import Readiness
from lambda_dispatch.admin.stream import MAX_STREAMS, Stream
from lambda_dispatch.admin.verdict import Verdict, verdict
from lambda_dispatch.admin.waits import Waits
from lambda_dispatch.config import RouterConfig, effective
from lambda_dispatch.scaler.configured import floor_of, schedule_of
from lambda_dispatch.settings import Reader
from lambda_dispatch.telemetry import log, prometheus, status
from lambda_dispatch.telemetry.overrides import RouterOverrides
from lambda_dispatch.telemetry.spans import SpanExporter
from lambda_dispatch.telemetry.view import PoolView, View, take
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board.board import DECISIONS, LIVES, Board
from lambda_dispatch_net.http_server import HttpServer, Request, Response, parse_query

MAX_CLIENTS = 32
MAX_BODY = 64 * 1024
IDLE = 75.0  # s without a request, or without progress of a response
TICK = 1.0  # s between two views
MAX_LIMIT = 4096  # instances in one answer

SECURITY = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
]
PAGE_TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript", "css": "text/css", "txt": "text/plain"}


class Admin:
    """All answers come from `self.view`, which tick() renews once a second."""

    def __init__(self, board: Board, config: RouterConfig, version: str = __version__, command_path: str = "") -> None:
        self.board = board
        self.config = config
        self.schedule = schedule_of(config)
        self.version = version
        self.settings: Reader | None = None  # where a changed configuration appears
        self.gate = Gate(config)
        self.commands = commands.Commands(command_path)
        self.overrides = RouterOverrides(board, config.log_level)
        self.traces: SpanExporter | None = None  # None where nothing is traced
        self.view = self.look()
        self.history = History(self.view)
        self.waits = Waits(self.view)
        self.stream = Stream(time.time_ns() // 1_000)
        self._feed()
        self.server = HttpServer(
            self.answer, max_body=MAX_BODY, max_connections=MAX_CLIENTS, idle=IDLE, failed=self._failed, for_pages=True
        )
        self.page = load_page()
        self.readiness = Readiness(config.function_name, floor_of(config, time.time()))
        self.routes: dict[str, Callable[[Request], Response]] = {
            "/metrics": self._metrics,
            "/api/v1/state": lambda _: document(self.state()),
            "/api/v1/stream": self._stream,
            "/api/v1/instances": self._instances,
            "/api/v1/decisions": self._decisions,
            "/api/v1/history": self._history,
            "/api/v1/lives": self._lives,
            "/api/v1/waits": lambda _: document(self.waits.document()),
            "/api/v1/config": lambda _: document(effective.document(self.config)),
            "/api/v1/openapi.json": lambda _: document(openapi.document(self.version)),
            "/": self._front,
        }

    def look(self) -> View:
        view = take(self.board, time.monotonic_ns(), time.time_ns())
        view = replace(view, admin_pid=os.getpid(), git_hash=self.config.git_hash)
        if self.traces is None:
            return view
        return replace(view, traces=self.traces.shown({pool.function for pool in view.active_pools}))

    async def run(self) -> None:
        """One view a second until cancelled. A view that takes long delays the next, never doubles up."""
        while True:
            await asyncio.sleep(TICK)
            self.tick()

    def apply(self, config: RouterConfig) -> None:
        """Takes a configuration, for the requests from now on."""
        self.config = config
        self.schedule = schedule_of(config)
        log.configure("admin", config.log_level, config.log_format)
        self.overrides.configure(config.log_level)
        self.gate = Gate(config)

    def tick(self) -> None:
        if self.settings is not None and (news := self.settings.news()) is not None:
            self.apply(news.config)
        self.overrides.look(time.monotonic_ns())
        self.view = self.look()
        self.history.feed(self.view)
        self.waits.feed(self.view)
        if self.stream.open:
            self._feed()

    def _feed(self) -> None:
        told = {"signals": self.history.latest(), "decided": self.board.decided, "lived": self.board.lived}
        self.stream.feed({**self.state(), **told})

    def state(self) -> dict[str, Any]:
        """The document of `status --json`, with the version, the way of commands, and per pool verdict and schedule."""
        shown = self.view.document()
        for pool, fields in zip(self.view.pools, shown["pools"], strict=True):
            fields["verdict"] = self.verdict(pool)._asdict()
            own = self.schedule if pool.function == str(self.config.function) else None
            fields["schedule"] = None if own is None else asdict(own.at(time.time()))
        return {"version": self.version, "control": self.gate.control, **shown}

    def verdict(self, pool: PoolView) -> Verdict:
        return verdict(pool, [it for it in self.view.overrides if it["function"] == pool.function])

    # requests

    async def answer(self, request: Request) -> Response:
        try:
            command = commands.command_at(request.path)
            response = self._route(request) if command is None else await self._command(request, command)
        except Refusal as refusal:
            response = text(f"{refusal}\n", status=refusal.status)
            response.headers += refusal.headers
        response.headers += SECURITY
        return response

    async def _command(self, request: Request, command: dict[str, Any]) -> Response:
        if request.method != "POST":
            raise Refusal(405, f"{request.method} is not allowed here: it is a command", (("allow", "POST"),))
        self.gate.check_command(request)
        answer = await self.commands.send(commands.parse(request, command))
        self.tick()
        return document(answer)

    def _route(self, request: Request) -> Response:
        # Probes of an orchestrator carry no token and say nothing.
        if request.path == "/livez":
            return text("OK\n")
        if request.path == "/readyz":
            self.overrides.look(time.monotonic_ns())
            lacks = "drained by a command" if self.overrides.draining else self.readiness.lacks(self.view)
            if lacks and not self.overrides.draining:
                # The view is up to a second old: what was missing then may be there.
                lacks = self.readiness.lacks(self.look())
            return text(f"{lacks or 'OK'}\n", status=503 if lacks else 200)
        self.gate.check(request)
        found = self.routes.get(request.path) or self.page.get(request.path)
        if found is None:
            raise Refusal(404, f"no such path; {', '.join((*self.routes, *commands.PATHS))} are there")
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, f"{request.method} is not allowed here", (("allow", "GET, HEAD"),))
        return found(request)

    def _front(self, request: Request) -> Response:
        """The page for browsers; for curl and other terminals what `lambda-dispatch status` prints."""
        if "text/html" in (request.header("accept") or ""):
            return self.page["/index.html"](request)
        verdicts = [f"{pool.function}: {self.verdict(pool).text}" for pool in self.view.pools]
        return text("\n".join([*verdicts, "", status.table(self.view), ""]))

    def _metrics(self, request: Request) -> Response:
        form = prometheus.negotiate(request.header("accept") or "")
        return Response(200, prometheus.encode(self.look(), form), [("content-type", form), ("vary", "accept")])

    def _stream(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(200, b"", [("content-type", "text/event-stream")])
        if self.stream.open >= MAX_STREAMS:
            raise Refusal(503, f"{MAX_STREAMS} streams are open; close one")
        if not self.stream.open:
            self._feed()
        follow = self.stream.follow(request.header("last-event-id"))
        return Response(200, b"", [("content-type", "text/event-stream")], stream=follow)

    def _instances(self, request: Request) -> Response:
        asked = query(request, "pool", "state", "sort", "limit")
        found = [asdict(it) for it in self.view.instances]
        for name, key in (("pool", "function"), ("state", "state")):
            if name in asked:
                found = [it for it in found if it[key] == asked[name]]
        sort = asked.get("sort", "slot")
        if not found:
            return document({"total": 0, "instances": []})
        if sort.lstrip("-") not in found[0]:
            raise Refusal(400, f"sort is {sort!r}; it must be one of {', '.join(found[0])}, with - for descending")
        found.sort(key=lambda it: (it[sort.lstrip("-")] is None, it[sort.lstrip("-")]), reverse=sort.startswith("-"))
        return document({"total": len(found), "instances": found[: number(asked, "limit", MAX_LIMIT, 1, MAX_LIMIT)]})

    def _decisions(self, request: Request) -> Response:
        asked = query(request, "pool", "since", "limit")
        since = number(asked, "since", 0, 0, (1 << 63) - 1)
        limit = number(asked, "limit", DECISIONS, 1, DECISIONS)
        return document(decisions.document(self.board, since, asked.get("pool"), limit))

    def _lives(self, request: Request) -> Response:
        asked = query(request, "pool", "since", "limit", "state")
        since = number(asked, "since", 0, 0, (1 << 63) - 1)
        limit = number(asked, "limit", MAX_LIMIT, 1, LIVES + MAX_LIMIT)
        state = asked.get("state", "all")
        if state not in ("all", "ended"):
            raise Refusal(400, f"state is {state[:20]!r}; it must be all or ended")
        return document(lives.document(self.board, since, asked.get("pool"), limit, state == "all"))

    def _history(self, request: Request) -> Response:
        asked = query(request, "span", "series", "limit")
        span = asked.get("span", "15m")
        if span not in SPANS:
            raise Refusal(400, f"span is {span[:20]!r}; it must be {' or '.join(SPANS)}")
        series = tuple(filter(None, asked.get("series", "").split(","))) or SERIES
        for name in series:
            if name not in SERIES:
                raise Refusal(400, f"series {name[:20]!r} is not known; {', '.join(SERIES)} are")
        return document(self.history.document(span, series, number(asked, "limit", 0, 0, SPANS["24h"][1])))

    def _failed(self, error: BaseException) -> None:
        log.error("admin request failed", error=f"{type(error).__name__}: {error}")


def query(request: Request, *known: str) -> dict[str, str]:
    asked = parse_query(request.query)
    for name in asked:
        if name not in known:
            raise Refusal(400, f"parameter {name[:20]!r} is not known; {', '.join(known)} are")
    return asked


def number(asked: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    value = asked.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 20 and low <= int(value) <= high):
        raise Refusal(400, f"{name} is {value[:20]!r}; it must be a whole number from {low} to {high}")
    return int(value)


def document(value: Any) -> Response:
    return Response(
        200,
        json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n",
        [("content-type", "application/json")],
    )


def text(body: str, content_type: str = "text/plain; charset=utf-8", status: int = 200) -> Response:
    return Response(status, body.encode(), [("content-type", content_type)])


def load_page() -> dict[str, Callable[[Request], Response]]:
    """The files of the page, read and compressed once."""
    folder = resources.files("lambda_dispatch.admin") / "page"
    kinds = {file.name: PAGE_TYPES.get(file.name.rpartition(".")[2]) for file in folder.iterdir()}
    return {f"/{name}": _asset((folder / name).read_bytes(), kind) for name, kind in kinds.items() if kind}


def _asset(body: bytes, kind: str) -> Callable[[Request], Response]:
    packed = gzip.compress(body, 9, mtime=0)

    def answer(request: Request) -> Response:
        headers = [("content-type", kind), ("vary", "accept-encoding")]
        if "gzip" in (request.header("accept-encoding") or ""):
            return Response(200, packed, [*headers, ("content-encoding", "gzip")])
        return Response(200, body, headers)

    return answer
