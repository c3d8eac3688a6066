"""One line per event on standard error, which Lambda carries to CloudWatch:

    lambda-dispatch extension: channel closed id=5f2c01aa cause="status 503"

Not the logging package: it costs more start-up time than all that is said here is worth.
"""

import sys
import time

# What a client or a broken application can cause once per request: at most BURST lines per event in WINDOW seconds.
BURST, WINDOW = 10, 10.0
# Characters of a value that are shown: it may quote what a caller sent, which may be megabytes.
LONGEST = 1000

_windows: dict[str, list[float]] = {}  # event -> [when its window began, lines in it, lines suppressed]


def say(event: str, /, **fields: object) -> None:
    line = f"lambda-dispatch extension: {event}" + "".join(f" {name}={text(value)}" for name, value in fields.items())
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # closed, or full and non-blocking: the work goes on


def say_limited(event: str, /, **fields: object) -> None:
    """Like say(), for events that may come once per request. The first line of a new window has the number of
    lines suppressed before it."""
    now = time.monotonic()
    window = _windows.setdefault(event, [now, 0, 0])
    if now - window[0] >= WINDOW:
        window[0], window[1] = now, 0
    if window[1] >= BURST:
        window[2] += 1
        return
    window[1] += 1
    if window[2]:
        fields["suppressed"] = int(window[2])
        window[2] = 0
    say(event, **fields)


def say_suppressed() -> None:
    """Logs the lines that say_limited() has suppressed since its last report."""
    for event, window in _windows.items():
        if window[2]:
            say("log lines suppressed", event=event, count=int(window[2]))
            window[2] = 0


def text(value: object) -> str:
    """A value as one word; quoted where it has blanks, quotes or what no terminal should see."""
    if isinstance(value, bytes):
        plain = value[: LONGEST + 1].decode("latin-1")
    elif isinstance(value, float):
        plain = f"{value:.6g}"
    else:
        plain = str(value)
    if len(plain) > LONGEST:
        plain = plain[:LONGEST] + "..."
    if plain and plain.isascii() and plain.isprintable() and not any(c in plain for c in ' "=\\'):
        return plain
    return '"' + "".join(ESCAPES.get(c) or (c if c.isascii() and c.isprintable() else escape(c)) for c in plain) + '"'


ESCAPES = {'"': '\\"', "\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t"}


def escape(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}"


def short(identifier: str) -> str:
    """The part of an id that is logged: the whole id is a credential at the control port."""
    return identifier[:8]
