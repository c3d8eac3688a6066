"""Structured logs: an event and its fields, one line each, on standard error.

    log.info("instance opened", pool="default", id=instance_id, cold_start_ms=312)

The event is a constant text (noun and verb; each is listed in docs/logs.md), so that lines can be counted; everything
that varies is a field. Fields whose name says that they are secret are masked. Not for the request path: one call costs
microseconds.

No call waits for the reader of standard error. Lines that it does not take stay in a buffer of BOUND bytes; beyond that
lines are dropped, and "log lines dropped" says how many as soon as there is room. flush() tries again; every process
calls it on its tick.

Events that an outsider can cause go through limited(): per event BURST lines in each PERIOD seconds. The rest is
suppressed, and "log lines suppressed" says how many at the end of the period.
"""

import atexit
import json
import logging
import os
import time
import traceback
from collections import deque
from typing import TextIO

from lambda_dispatch.telemetry.sink import Sink

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_NAMES = {number: name for name, number in LEVELS.items()}
_SECRET = ("secret", "password", "token", "authorization", "credential", "access_key")

# Bytes kept while standard error takes nothing: some 2,000 lines.
BOUND = 256 * 1024
# Lines of one event that outsiders can cause, per PERIOD.
BURST = 5
PERIOD = 10.0
# What standard error gets at exit to take the lines that are left.
LAST_WAIT = 0.2


class _Log:
    process = "lambda-dispatch"
    level = INFO
    as_json = False
    stream: TextIO | None = None  # tests: written to instead of standard error
    sink: Sink | None = None


class _Held:
    """Lines that standard error has not taken yet."""

    lines: deque[bytes] = deque()
    size = 0
    dropped = 0  # since the last report
    dropped_ever = 0


class _Limit:
    __slots__ = ("level", "since", "suppressed", "written")

    def __init__(self, now: float) -> None:
        self.since = now
        self.level = INFO
        self.written = 0
        self.suppressed = 0


_limits: dict[str, _Limit] = {}


def configure(process: str, level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Once per process. `process` is what every line begins with: supervisor, worker 2, scaler."""
    _Log.process = process
    _Log.level = LEVELS[level]
    _Log.as_json = form == "json"
    _Log.stream = stream
    root = logging.getLogger()
    if not any(isinstance(handler, _FromLibraries) for handler in root.handlers):
        root.addHandler(_FromLibraries())


def set_level(level: int) -> None:
    """Lines below this number are not written from now on."""
    _Log.level = level


def enabled(level: int) -> bool:
    return level >= _Log.level


def write(level: int, event: str, /, **fields: object) -> None:
    if level >= _Log.level:
        _emit(level, event, fields)


def limited(level: int, event: str, /, **fields: object) -> None:
    """For events that outsiders can cause: at most BURST lines of each in PERIOD seconds."""
    if level < _Log.level:
        return
    now = time.monotonic()
    limit = _limits.get(event)
    if limit is None:
        limit = _limits[event] = _Limit(now)
    elif now - limit.since >= PERIOD:
        _report(event, limit, now)
    limit.level = level
    if limit.written < BURST:
        limit.written += 1
        _emit(level, event, fields)
    else:
        limit.suppressed += 1


def flush() -> None:
    """Writes what standard error takes now, and reports what was suppressed or dropped. Called on every tick."""
    if _limits:
        now = time.monotonic()
        for event, limit in list(_limits.items()):
            if now - limit.since >= PERIOD:
                _report(event, limit, now)
                if not limit.written:
                    del _limits[event]
    if _Held.lines:
        _drain()


def dropped() -> int:
    """Lines lost since the process began because standard error took nothing."""
    return _Held.dropped_ever


def _report(event: str, limit: _Limit, now: float) -> None:
    suppressed, since = limit.suppressed, limit.since
    limit.written = limit.suppressed = 0
    limit.since = now
    if suppressed:
        fields = {"suppressed": event, "count": suppressed, "seconds": round(now - since, 1)}
        _emit(limit.level, "log lines suppressed", fields)


def _emit(level: int, event: str, fields: dict[str, object]) -> None:
    line = _format(level, event, fields)
    if _Log.stream is not None:
        try:
            _Log.stream.write(line)
            _Log.stream.flush()
        except (OSError, ValueError):
            pass  # the stream is closed; the process goes on
        return
    data = line.encode("utf-8", "backslashreplace")
    if _Held.size + len(data) > BOUND:
        _drain()
    if _Held.size + len(data) > BOUND:
        _Held.dropped += 1
        _Held.dropped_ever += 1
        return
    _Held.lines.append(data)
    _Held.size += len(data)
    _drain()


def _drain() -> None:
    if _Log.sink is None:
        _Log.sink = Sink(2)
    lines = _Held.lines
    while lines:
        taken = _Log.sink.write(lines[0])
        _Held.size -= taken
        if taken < len(lines[0]):
            lines[0] = lines[0][taken:]
            return
        lines.popleft()
        if not lines and _Held.dropped:
            count, _Held.dropped = _Held.dropped, 0
            data = _format(WARNING, "log lines dropped", {"count": count}).encode()
            lines.append(data)
            _Held.size += len(data)


def _format(level: int, event: str, fields: dict[str, object]) -> str:
    for name in fields:
        if any(word in name.lower() for word in _SECRET):
            fields[name] = "********"
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    if _Log.as_json:
        record = {"time": stamp, "level": _NAMES[level], "process": _Log.process, "pid": os.getpid(), "event": event}
        return json.dumps({**record, **fields}, default=str, separators=(",", ":")) + "\n"
    rest = "".join(f" {name}={_text(value)}" for name, value in fields.items())
    return f"{stamp} {_NAMES[level]:<7} {_Log.process}: {event}{rest}\n"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    # json quotes what would break the line or the reader: blanks, quotes, control characters, nothing at all.
    return text if text.isprintable() and text and not any(c in text for c in ' "=') else json.dumps(text)


def debug(event: str, /, **fields: object) -> None:
    write(DEBUG, event, **fields)


def info(event: str, /, **fields: object) -> None:
    write(INFO, event, **fields)


def warning(event: str, /, **fields: object) -> None:
    write(WARNING, event, **fields)


def error(event: str, /, **fields: object) -> None:
    write(ERROR, event, **fields)


class _FromLibraries(logging.Handler):
    """What asyncio, uvloop and boto3 log takes the same way; outsiders can cause much of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"library": record.name, "text": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        limited(ERROR if record.levelno >= logging.ERROR else WARNING, "library message", **fields)


@atexit.register
def _last_flush() -> None:
    if _Log.stream is None and _Held.lines and _Log.sink is not None and _Log.sink.wait(LAST_WAIT):
        _drain()
