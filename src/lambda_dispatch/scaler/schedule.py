"""`MinInstancesSchedule`: the floor by time of day and week. Pure: the time is an argument, s since 1970.

    parse("0 7 * * MON-FRI=20; 0 19 * * *=2").at(now)   # count of the entry that was due last, since, until

An entry is a cron expression, `=`, and a number of instances. Times are UTC, where every minute exists once. A cron
expression has five fields: minute, hour, day of month, month, day of week (0 or 7: Sunday). A field is `*`, `*/STEP`,
or a list of values, ranges and RANGE/STEP. Months and days of the week have names, too. As in every cron since Vixie's,
where neither of the two fields of days begins with `*`, a day that satisfies one of them is enough; else it needs both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

MOST = 1000  # instances, as of MinInstances
MINUTE = 60
# The days of the week and 29 February are together again after 28 years, or 40 where a leap year is left out.
SEARCHED = 41 * 366  # days; an expression that is due on none of them never is

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_PART = re.compile(r"(\*|[0-9A-Z]{1,3})(?:-([0-9A-Z]{1,3}))?(?:/([0-9]{1,2}))?")


class ScheduleError(ValueError):
    """The text is no schedule; says which entry, what is wrong with it, and what to write."""


class Field(NamedTuple):
    name: str
    low: int
    high: int
    example: str
    names: tuple[str, ...] = ()


FIELDS = (
    Field("minute", 0, 59, "0, */15 or 0,30"),
    Field("hour", 0, 23, "7, 7-19, */2 or 8,12,18"),
    Field("day of month", 1, 31, "1, 1-7 or 1,15"),
    Field("month", 1, 12, "1, JAN-MAR or 6,12", MONTHS),
    Field("day of week", 0, 7, "MON, MON-FRI or 0,6", DAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    minutes: tuple[int, ...]  # ascending, as all of these
    hours: tuple[int, ...]
    days: frozenset[int]  # of the month
    months: frozenset[int]
    weekdays: frozenset[int]  # 0: Sunday
    either: bool  # one of `days` and `weekdays` is enough

    def on(self, day: date) -> bool:
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and ((in_month or in_week) if self.either else (in_month and in_week))

    def _minutes(self, now: int, step: int) -> Iterator[int]:
        """All minutes since 1970 at which it is due, of the day of `now` and of later (step 1) or earlier (-1) days."""
        today = datetime.fromtimestamp(now * MINUTE, UTC).date()
        midnight = now - now % (24 * 60)
        for number in range(SEARCHED):
            try:
                on = self.on(today + timedelta(days=step * number))
            except OverflowError:
                return
            if on:
                start = midnight + step * number * 24 * 60
                for hour in self.hours[::step]:
                    yield from (start + hour * 60 + minute for minute in self.minutes[::step])

    def before(self, now: int) -> int | None:
        """The last minute since 1970 at which it was due, `now` among them."""
        return next((minute for minute in self._minutes(now, -1) if minute <= now), None)

    def after(self, now: int) -> int | None:
        """The first minute after `now` at which it is due."""
        return next((minute for minute in self._minutes(now, 1) if minute > now), None)


@dataclass(frozen=True, slots=True)
class Entry:
    text: str  # of the expression
    cron: Cron
    count: int


@dataclass(frozen=True, slots=True)
class Floor:
    count: int
    since: float  # s since 1970
    until: float  # when the next entry is due
    entry: str


@dataclass(frozen=True, slots=True)
class Schedule:
    entries: tuple[Entry, ...]

    @property
    def most(self) -> int:
        return max(entry.count for entry in self.entries)

    def at(self, now: float) -> Floor:
        """Of two entries that are due in the same minute, the later one of the list counts."""
        return _at(self, int(now // MINUTE))

    def ahead(self, now: float, lead: float) -> int:
        """How many instances must be there or be on their way: a floor that rises within `lead` s counts already."""
        floor = self.at(now)
        return max(floor.count, self.at(floor.until).count) if floor.until <= now + lead else floor.count


@lru_cache(maxsize=8)
def _at(schedule: Schedule, minute: int) -> Floor:
    since, place = max((entry.cron.before(minute) or 0, place) for place, entry in enumerate(schedule.entries))
    until = min(found for entry in schedule.entries if (found := entry.cron.after(minute)) is not None)
    entry = schedule.entries[place]
    return Floor(entry.count, float(since * MINUTE), float(until * MINUTE), entry.text)


def parse(text: str) -> Schedule | None:
    """None: there is no schedule. Raises ScheduleError."""
    entries = [part.strip() for part in text.split(";") if part.strip()]
    if not entries:
        return None
    return Schedule(tuple(_entry(f"entry {number}, {part!r}", part) for number, part in enumerate(entries, 1)))


def _entry(where: str, text: str) -> Entry:
    expression, equals, count = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch("[0-9]{1,4}", count) or int(count) > MOST:
        raise ScheduleError(
            f"{where}: the number of instances is {count!r}; write CRON=N with N from 0 to {MOST}, "
            "as in 0 7 * * MON-FRI=20"
        )
    words = expression.upper().split()
    if len(words) != len(FIELDS):
        names = ", ".join(field.name for field in FIELDS)
        raise ScheduleError(f"{where}: there are {len(words)} fields before the =; write five: {names}")
    values = [_values(where, field, word) for field, word in zip(FIELDS, words, strict=True)]
    minutes, hours, days, months, weekdays = values
    either = not words[2].startswith("*") and not words[4].startswith("*")
    cron = Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(day % 7 for day in weekdays),
        either,
    )
    if cron.after(0) is None:
        raise ScheduleError(f"{where}: there is no such day in any year; write a day of month that its months have")
    return Entry(" ".join(words), cron, int(count))


def _values(where: str, field: Field, word: str) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        span = _span(field, match) if match else None
        if match is None or span is None:
            raise ScheduleError(
                f"{where}: the {field.name} is {word!r}; write values from {field.low} to {field.high}, as in *, "
                f"{field.example}; a range goes from the lower value to the higher one"
            )
        low, high = span
        found.update(range(low, high + 1, int(match[3] or 1)))
    return found


def _span(field: Field, match: re.Match[str]) -> tuple[int, int] | None:
    """The lowest and the highest value of one part of a list; None: it is not written well."""
    first, last, step = match.groups()
    if step is not None and (int(step) == 0 or (first != "*" and last is None)):
        return None
    if first == "*":
        return (field.low, field.high - (field.names == DAYS)) if last is None else None
    low = _number(field, first)
    high = low if last is None else _number(field, last)
    if low is not None and high == 0 and low > 0 and last == "SUN":
        high = 7  # a range may end with the week
    if low is None or high is None or not field.low <= low <= high <= field.high:
        return None
    return low, high


def _number(field: Field, word: str) -> int | None:
    if word in field.names:
        return field.names.index(word) + (field.names == MONTHS)
    return int(word) if word.isdigit() else None
