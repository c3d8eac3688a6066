"""`lambda-dispatch top`: the live page's numbers in a terminal, from the board of a router or from an admin port.

Source.look()    one Shot: the state document, and the numbers of the last second
lines()          the Shot as text of a given width and height; pure
Screen           the terminal: raw input, alternate screen, resize; given back whatever happens
"""

import argparse
import http.client
import json
import os
import select
import signal
import sys
import termios
import time
import tty
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Protocol, Self

from lambda_dispatch.admin.history import SERIES, History
from lambda_dispatch.admin.verdict import verdict
from lambda_dispatch.exits import EX_UNAVAILABLE, EX_USAGE
from lambda_dispatch.supervisor import runtime
from lambda_dispatch.telemetry import status
from lambda_dispatch.telemetry.status import NoRouter, columns, duration
from lambda_dispatch.telemetry.view import take
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board.board import BoardError

LEAST_WIDTH = 60
ONCE = (120, 10_000)  # columns and lines where there is no terminal
MAX_ANSWER = 16 * 1024 * 1024  # bytes of an admin port's answer; 4,096 instances are 1.3 MB
PATIENCE = 3.0  # s
TOKENS = ("LAMBDA_DISPATCH_AdminToken", "LAMBDA_DISPATCH_AdminReadToken")
LEVELS = {"ok": ("ok", "\x1b[32m"), "busy": ("~ ", "\x1b[33m"), "bad": ("! ", "\x1b[31m")}
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Shot(NamedTuple):
    state: Mapping[str, Any]  # as /api/v1/state
    signals: Mapping[str, float | None]  # by series of the history, of the last second; empty before there is one


class Gone(Exception):
    """There is nothing to look at any more; the text says why."""


class Source(Protocol):
    def look(self) -> Shot:
        """Raises Gone for good, OSError for now."""

    def close(self) -> None: ...


class OwnBoard:
    def __init__(self, pid: int | None) -> None:
        self._pid = pid or status.find()
        self._board = status.open_board(self._pid)
        self._history = History(self._take())

    def _take(self) -> Any:
        return take(self._board, time.monotonic_ns(), time.time_ns())

    def look(self) -> Shot:
        if not runtime.alive(self._pid):
            raise Gone(f"router {self._pid} has ended")
        view = self._take()
        self._history.feed(view)
        shown = view.document()
        for pool, fields in zip(view.pools, shown["pools"], strict=True):
            mine = [it for it in view.overrides if it["function"] == pool.function]
            fields["verdict"] = verdict(pool, mine)._asdict()
        return Shot({"version": __version__, **shown}, self._history.latest())

    def close(self) -> None:
        self._board.close()


class AdminPort:
    def __init__(self, url: str, token: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NoRouter(f"--url is {url!r}; it must be http://HOST:PORT/ or https://HOST:PORT/")
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._make: Callable[[], http.client.HTTPConnection] = lambda: make(
            parts.hostname or "", parts.port, timeout=PATIENCE
        )
        self._base = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def look(self) -> Shot:
        client = self._make()
        try:
            state = self._get(client, "/api/v1/state")
            past = self._get(client, "/api/v1/history?limit=1")
        finally:
            client.close()
        series = past["series"]
        return Shot(state, {name: series[name][-1] for name in SERIES if series.get(name)})

    def _get(self, client: http.client.HTTPConnection, path: str) -> Any:
        try:
            client.request("GET", self._base + path, headers=self._headers)
            answer = client.getresponse()
            body = answer.read(MAX_ANSWER)
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer: {type(error).__name__}") from error
        if answer.status in (401, 403):
            raise Gone(f"{answer.status} {_plain(body[:200])}; set {TOKENS[0]} or --token-file")
        if answer.status != 200:
            raise OSError(f"{path} answered {answer.status}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise OSError(f"{path} did not answer with JSON") from error

    def close(self) -> None:
        pass


# text -----------------------------------------------------------------------------------------------------------------


def lines(shot: Shot, width: int, height: int, colour: bool, trouble: str = "") -> list[str]:
    """At most `height` lines of at most `width` characters; the instances get what is left."""
    state, signals = shot
    workers = state["workers"]
    ready = sum(worker["state"] == "ready" for worker in workers)
    clock = time.strftime("%H:%M:%S", time.localtime(state["taken_ms"] / 1000))
    head = f"lambda-dispatch {state['version']}  pid {state['pid']}  up {duration(state['uptime'])}"
    head += f"  {ready}/{len(workers)} workers  {clock}"
    found = [_ink(_cut(head, width), BOLD, colour)]
    if trouble:
        found.append(_ink(_cut(f"! {trouble}", width), LEVELS["bad"][1], colour))
    for pool in state["pools"]:
        mark, ink = LEVELS.get(pool["verdict"]["level"], LEVELS["bad"])
        found.append(_ink(_cut(f"{mark} {pool['function']}: {pool['verdict']['text']}", width), ink, colour))
    found.append("")
    found += [_cut(line, width) for line in _signals(signals, width)]
    found.append("")
    pools = columns(
        ("FUNCTION", "WANT", "OPEN", "START", "DRAIN", "BUSY", "QUEUE", "OLDEST", "MAX"),
        [
            (
                _cut(_plain(pool["function"]), max(8, width - 52)),
                *(pool[name] for name in ("desired", "open", "starting", "draining", "in_flight", "queued")),
                duration(pool["oldest_queued"]),
                pool["max_instances"],
            )
            for pool in state["pools"]
        ],
    )
    staff = columns(
        ("WORKER", "PID", "STATE", "CONNS", "QUEUE", "BUSY", "IDLE", "REQUESTS"),
        [
            (it["slot"], it["pid"], it["state"], it["connections"], it["queued"], it["running"], it["idle_channels"])
            + (it["requests"],)
            for it in workers
        ],
    )
    busiest = sorted(state["instances"], key=lambda it: (-it["in_flight"], it["slot"]))
    instances = columns(
        ("INSTANCE", "STATE", "BUSY", "LIMIT", "IDLE", "REQUESTS", "AGE", "LEFT"),
        [
            (it["id"], it["state"], it["in_flight"], it["limit"], it["idle_channels"], it["requests"])
            + (duration(it["age"]), duration(it["left"]))
            for it in busiest[:height]
        ],
    )
    for block in (pools, staff, instances if busiest else []):
        if block:
            found += [_ink(_cut(block[0], width), DIM, colour), *(_cut(line, width) for line in block[1:]), ""]
    return found[: height - 1]


def _signals(signals: Mapping[str, float | None], width: int) -> list[str]:
    def of(name: str, form: Callable[[float], str]) -> str:
        value = signals.get(name)
        return "-" if value is None else form(value)

    def count(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"

    def ms(value: float) -> str:
        return f"{value:.2g} ms" if value < 1 else f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.0f} s"

    cells = [
        f"requests/s {of('requests', count)}",
        f"in flight {of('in_flight', count)}",
        f"queued {of('queued', count)}",
        f"5xx/s {of('server_errors', count)}",
        f"4xx/s {of('client_errors', count)}",
        f"wait p99 {of('wait_p99', ms)} p50 {of('wait_p50', ms)}",
        f"time p99 {of('time_p99', ms)} p50 {of('time_p50', ms)}",
    ]
    rows = [""]
    for cell in cells:
        longer = f"{rows[-1]}   {cell}" if rows[-1] else cell
        if len(longer) > width:
            rows.append(cell)
        else:
            rows[-1] = longer
    return rows


def _plain(value: str | bytes) -> str:
    """What comes from elsewhere never steers the terminal."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "".join(c if c.isprintable() else "?" for c in text.strip())


def _cut(text: str, width: int) -> str:
    text = _plain(text) if not text.isprintable() else text
    return text if len(text) <= width else text[: width - 1] + "…"


def _ink(text: str, ink: str, colour: bool) -> str:
    return f"{ink}{text}{PLAIN}" if colour else text


# the terminal ---------------------------------------------------------------------------------------------------------


class Screen:
    """`with Screen() as screen:` raw input and an alternate screen, until the block ends or a signal ends it."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self._wake, self._woken = os.pipe()
        self._before: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self.ended = False

    def __enter__(self) -> Self:
        os.set_blocking(self._woken, False)
        self._before = termios.tcgetattr(self._input)
        for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._signalled)
        tty.setcbreak(self._input)
        self._write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._write("\x1b[?25h\x1b[?1049l")
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake)
        os.close(self._woken)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self.ended = self.ended or number != signal.SIGWINCH
        try:
            os.write(self._woken, b"\0")
        except BlockingIOError:
            pass

    @property
    def size(self) -> tuple[int, int]:
        found = os.get_terminal_size(self._output)
        return max(LEAST_WIDTH, found.columns), max(4, found.lines)

    def draw(self, shown: Sequence[str]) -> None:
        self._write("\x1b[H" + "\x1b[K\n".join([*shown, "q: quit"]) + "\x1b[K\x1b[J")

    def wait(self, until: float) -> bool:
        """False when it is time to go: q, Ctrl-C or a signal. True when the time has come or the size has changed."""
        while not self.ended:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._input, self._wake], [], [], max(0.0, left))
            if self._wake in ready:
                os.read(self._wake, 4096)
                return not self.ended
            if self._input in ready and (not (typed := os.read(self._input, 64)) or b"q" in typed.lower()):
                return False
            if not ready:
                return True
        return False

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._output, data) :]


def watch(source: Source, interval: float, colour: bool) -> None:
    with Screen() as screen:
        shot: Shot | None = None
        trouble, due = "", 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + interval
                try:
                    shot, trouble = source.look(), ""
                except OSError as error:
                    trouble = f"no answer: {error}"
            width, height = screen.size
            screen.draw(lines(shot, width, height, colour, trouble) if shot else [_cut(trouble, width)])
            if not screen.wait(due):
                return


def once(source: Source, interval: float) -> None:
    """Rates need two looks."""
    source.look()
    time.sleep(interval)
    width, height = ONCE
    if sys.stdout.isatty():
        width = max(LEAST_WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns)
    width = max(LEAST_WIDTH, int(found)) if (found := os.environ.get("COLUMNS", "")).isdecimal() else width
    print("\n".join(lines(source.look(), width, height, False)).rstrip())


def token_of(path: str | None) -> str:
    if path is None:
        return next((value for name in TOKENS if (value := os.environ.get(name, ""))), "")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoRouter(f"--token-file is {path!r}, which cannot be read: {error}") from error


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lambda-dispatch top",
        description="What a running router is doing, second by second: q leaves. From its shared memory, or by --url.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="of an admin port: http://HOST:5005/")
    where.add_argument("--pid", type=int, help="the router's process, when there are several")
    parser.add_argument("--token-file", help=f"holds the admin port's token; else {' or '.join(TOKENS)}")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks, from 0.5 to 60")
    parser.add_argument("--once", action="store_true", help="print one look as text and exit")
    options = parser.parse_args(argv)
    if not 0.5 <= options.interval <= 60:
        parser.error(f"--interval is {options.interval:g}; it must be from 0.5 to 60")
    if not options.once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("lambda-dispatch top: input or output is no terminal; use --once", file=sys.stderr)
        return EX_USAGE
    source: Source | None = None
    try:
        source = AdminPort(options.url, token_of(options.token_file)) if options.url else OwnBoard(options.pid)
        if options.once:
            once(source, options.interval)
        else:
            watch(source, options.interval, not os.environ.get("NO_COLOR"))
    except (NoRouter, BoardError, Gone, OSError) as error:
        print(f"lambda-dispatch top: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 130
    finally:
        if source is not None:
            source.close()
    return 0
