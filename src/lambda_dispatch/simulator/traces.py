"""Arrivals that were recorded: a CSV, an access log of the router (JSON or text), Combined Log Format.

Every reader takes lines and returns (arrival, service time) in seconds; a service time that the line does not tell is
None. A line that cannot be read is an error that names the file, the line and the value.
"""

import csv
import gzip
import io
import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO

from lambda_dispatch.simulator.requests import DATED, MONDAY, Requests, in_order

Entry = tuple[float, float | None]


class TraceError(ValueError):
    """A file or a line that cannot be used; the text says which, and why."""


class Lines:
    """The lines of a file that are not empty, and where one is for messages. `skip`: bad ones are only counted."""

    def __init__(self, path: Path, skip: bool = False) -> None:
        self.path = path
        self.number = 0
        self.skipped = 0
        self._skip = skip

    def __iter__(self) -> Iterator[str]:
        try:
            with _open(self.path) as file:
                for self.number, line in enumerate(file, 1):
                    if line.strip():
                        yield line.rstrip("\r\n")
        except (OSError, EOFError) as error:
            raise TraceError(f"{self.path}: {getattr(error, 'strerror', None) or error}") from error

    def bad(self, value: str, wrong: str) -> None:
        """Raises, or counts the line."""
        self.skipped += 1
        if not self._skip:
            shown = value if len(value) <= 100 else value[:97] + "..."
            raise TraceError(f"{self.path}, line {self.number}: {shown!r} {wrong}")


def _open(path: Path) -> IO[str]:
    if str(path) == "-":
        return io.TextIOWrapper(sys.stdin.buffer, errors="replace")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", errors="replace")
    return path.open(errors="replace")


def read(kind: str, path: Path, service: Callable[[], float] | None, skip: bool) -> tuple[Requests, int]:
    """The requests, and how many lines were skipped. `service` gives the times that the file does not tell."""
    lines = Lines(path, skip)
    entries = list(READERS[kind](lines))
    if not entries:
        raise TraceError(f"{path}: there is no request in it")
    if any(takes is None for _, takes in entries):
        told = [takes for _, takes in entries if takes is not None]
        if service is None and not told:
            raise TraceError(f"{path}: no line tells how long a request took; give --service")
        typical = statistics.median(told) if told else 0.0
        entries = [(at, takes if takes is not None else service() if service else typical) for at, takes in entries]
    first = min(at for at, _ in entries)
    requests = in_order((at - first, takes or 0.0) for at, takes in entries)
    return replace(requests, begins=first if first >= DATED else MONDAY + first), lines.skipped


# CSV ------------------------------------------------------------------------------------------------------------------

_TIMES = ("time", "arrival", "arrival_s", "timestamp")
_SERVICE = {"service": 1.0, "service_s": 1.0, "service_ms": 1e-3}
_SERVICE |= {"duration": 1.0, "duration_s": 1.0, "duration_ms": 1e-3}


def _csv(lines: Lines) -> Iterator[Entry]:
    """Columns by name (time, and service or service_ms), or without names: time, then service in seconds."""
    time_at, service_at, factor = 0, 1, 1.0
    for count, row in enumerate(csv.reader(iter(lines))):
        cells = [cell.strip() for cell in row]
        if count == 0 and not _is_time(cells[0]):
            names = [cell.lower() for cell in cells]
            found = [names.index(name) for name in _TIMES if name in names]
            if not found:
                raise TraceError(
                    f"{lines.path}, line {lines.number}: {','.join(cells)!r} names no column of arrival times; "
                    f"call it {', '.join(_TIMES[:-1])} or {_TIMES[-1]}"
                )
            time_at = found[0]
            service = [name for name in _SERVICE if name in names]
            service_at, factor = (names.index(service[0]), _SERVICE[service[0]]) if service else (len(names), 1.0)
            continue
        if time_at >= len(cells) or not _is_time(cells[time_at]):
            lines.bad(cells[time_at] if time_at < len(cells) else ",".join(cells),
                      "is no time: write seconds, or a date and time as in 2026-01-31T12:00:00.5Z")  # fmt: skip
            continue
        takes = None
        if service_at < len(cells):
            takes = _seconds(cells[service_at])
            if takes is None:
                lines.bad(cells[service_at], "is no service time: write a number from 0 up")
                continue
            takes *= factor
        yield _time(cells[time_at]), takes


def _is_time(text: str) -> bool:
    try:
        return math.isfinite(_time(text))
    except ValueError:
        return False


def _time(text: str) -> float:
    """Seconds, as a number or as a date and time; raises ValueError."""
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


# The router's access log ----------------------------------------------------------------------------------------------

_OURS = re.compile(
    r'(?P<time>\S+) \S+ "(?:[^"\\]|\\.)*" (?P<status>\d{3}) in=\d+ out=\d+ '
    r"wait_ms=(?P<wait_ms>\d+\.\d+)(?: service_ms=\d+\.\d+)? total_ms=(?P<total_ms>\d+\.\d+)"
    r'(?: (?!fault=)\w+=(?:"(?:[^"\\]|\\.)*"|\S+))*(?: fault=(?P<fault>\S+))?(?: \w+=(?:"(?:[^"\\]|\\.)*"|\S+))*$'
)


def _access(lines: Lines) -> Iterator[Entry]:
    """Each line is written at the end of its request, with a time in whole seconds: those of one second are spread
    over it. A request that failed tells no service time."""
    second: float | None = None
    held: list[tuple[float, float | None]] = []
    for line in lines:
        found = _access_line(lines, line)
        if found is None:
            continue
        ended, total, takes = found
        if ended != second:
            yield from _spread(second, held)
            second, held = ended, []
        held.append((total, takes))
    yield from _spread(second, held)


def _access_line(lines: Lines, line: str) -> tuple[float, float, float | None] | None:
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            lines.bad(line, "is no JSON")
            return None
    else:
        match = _OURS.match(line)
        if match is None:
            lines.bad(line, "is no line of the router's access log (AccessLog=json or text)")
            return None
        fields = match.groupdict()
    try:
        ended = datetime.fromisoformat(fields["time"]).timestamp()
        wait, total = float(fields["wait_ms"]) / 1000, float(fields["total_ms"]) / 1000
    except (KeyError, TypeError, ValueError) as error:
        lines.bad(line, f"has no usable time, wait_ms and total_ms ({error})")
        return None
    if not 0 <= wait <= total < math.inf:
        lines.bad(line, f"has a wait_ms of {wait * 1000:g} and a total_ms of {total * 1000:g}")
        return None
    return ended, total, None if fields.get("fault") else total - wait


def _spread(second: float | None, held: list[tuple[float, float | None]]) -> Iterator[Entry]:
    for number, (total, takes) in enumerate(held):
        yield (second or 0.0) + (number + 0.5) / len(held) - total, takes


# Combined Log Format --------------------------------------------------------------------------------------------------

_COMBINED = re.compile(
    r'\S+ \S+ .*?\[(?P<time>[^\]]+)\] "(?:[^"\\]|\\.)*" \d{3} (?:\d+|-)'
    r'(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*")?(?P<rest>.*)$'
)


def _combined(lines: Lines) -> Iterator[Entry]:
    """Common and Combined Log Format. A number at the end of the line is how long the request took: whole numbers are
    microseconds (Apache's %D), those with a point are seconds (nginx's $request_time, whose lines tell the end)."""
    second: float | None = None
    held: list[tuple[float, float | None]] = []
    for line in lines:
        match = _COMBINED.match(line)
        if match is None:
            lines.bad(line, "is no line of Common or Combined Log Format")
            continue
        try:
            at = datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z").timestamp()
        except ValueError:
            lines.bad(match["time"], "is no time of Combined Log Format, as in 10/Oct/2026:13:55:36 -0700")
            continue
        last = match["rest"].split()[-1:] or [""]
        takes: float | None = None
        before = 0.0
        if re.fullmatch(r"\d+", last[0]):
            takes = float(last[0]) / 1e6
        elif re.fullmatch(r"\d+\.\d+", last[0]):
            takes = before = float(last[0])
        if at != second:
            yield from _spread(second, held)
            second, held = at, []
        held.append((before, takes))
    yield from _spread(second, held)


READERS: dict[str, Callable[[Lines], Iterator[Entry]]] = {"csv": _csv, "access-log": _access, "combined": _combined}
