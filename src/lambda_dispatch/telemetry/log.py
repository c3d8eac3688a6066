"""Structured logs: a name for what happened and its particulars, one line each, on stderr.

    log.info("instance opened", pool="default", id=instance_id, cold_start_ms=312)

The first argument is a constant text, so that lines can be counted; everything that varies is a particular. Particulars
whose name says that they are secret are never written. Not for the request path: one call costs microseconds.
"""

import json
import os
import sys
import time
from typing import TextIO

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_NAMES = {number: name for name, number in LEVELS.items()}
_SECRET = ("secret", "password", "token", "authorization", "credential", "access_key")


class _Log:
    process = "lambda-dispatch"
    level = INFO
    as_json = False
    stream: TextIO | None = None  # None: stderr as it is at the moment of writing


def configure(process: str, level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Once per process. `process` is what every line begins with: supervisor, worker 2, scaler."""
    _Log.process = process
    _Log.level = LEVELS[level]
    _Log.as_json = form == "json"
    _Log.stream = stream


def enabled(level: int) -> bool:
    return level >= _Log.level


def write(level: int, event: str, /, **particulars: object) -> None:
    if level < _Log.level:
        return
    for name in particulars:
        if any(word in name.lower() for word in _SECRET):
            particulars[name] = "********"
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    if _Log.as_json:
        record = {"time": stamp, "level": _NAMES[level], "process": _Log.process, "pid": os.getpid(), "event": event}
        line = json.dumps({**record, **particulars}, default=str, separators=(",", ":"))
    else:
        rest = "".join(f" {name}={_text(value)}" for name, value in particulars.items())
        line = f"{stamp} {_NAMES[level]:<7} {_Log.process}: {event}{rest}"
    try:
        stream = _Log.stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        pass  # nobody listens any more; the work goes on


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    # json quotes what would break the line or the reader: blanks, quotes, control characters, nothing at all.
    return text if text.isprintable() and text and not any(c in text for c in ' "=') else json.dumps(text)


def debug(event: str, /, **particulars: object) -> None:
    write(DEBUG, event, **particulars)


def info(event: str, /, **particulars: object) -> None:
    write(INFO, event, **particulars)


def warning(event: str, /, **particulars: object) -> None:
    write(WARNING, event, **particulars)


def error(event: str, /, **particulars: object) -> None:
    write(ERROR, event, **particulars)
