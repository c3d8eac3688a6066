"""When a cron expression is due, against a step through the minutes with sets of values that are not parsed."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch.scaler.schedule import DAYS, FIELDS, MONTHS, Field, parse

STEPPED = 2 * 24 * 60  # minutes, in each direction
LAST = 4_102_444_800 // 60  # 1 January 2100


@st.composite
def field(draw: st.DrawFn, it: Field) -> tuple[str, set[int]]:
    """A field's text, and the values that it means."""
    high = 6 if it.names == DAYS else it.high
    every = range(it.low, high + 1)
    if draw(st.booleans()):
        step = draw(st.integers(1, 20))
        return ("*" if step == 1 else f"*/{step}"), set(every[::step])
    words, values = [], set()
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted((draw(st.sampled_from(every)), draw(st.sampled_from(every))))
        kind = draw(st.sampled_from(("one", "range", "step")))
        name = {DAYS: DAYS, MONTHS: ("", *MONTHS)}.get(it.names)
        as_name = name is not None and draw(st.booleans())
        low, top = (name[first].lower(), name[last].lower()) if as_name and name else (str(first), str(last))
        if kind == "one":
            words.append(low)
            values.add(first)
        elif kind == "range":
            words.append(f"{low}-{top}")
            values.update(range(first, last + 1))
        else:
            step = draw(st.integers(1, 9))
            words.append(f"{low}-{top}/{step}")
            values.update(range(first, last + 1, step))
    return ",".join(words), values


@st.composite
def expression(draw: st.DrawFn) -> tuple[str, list[set[int]], bool]:
    found = [draw(field(it)) for it in FIELDS]
    if found[2][1] <= {30, 31} and found[4][0].startswith("*"):
        found[2] = ("*", set(range(1, 32)))  # no month may have such a day
    either = not found[2][0].startswith("*") and not found[4][0].startswith("*")
    return " ".join(text for text, _ in found), [values for _, values in found], either


def due(minute: int, values: list[set[int]], either: bool) -> bool:
    at = datetime.fromtimestamp(minute * 60, UTC)
    minutes, hours, days, months, weekdays = values
    by_day = (at.day in days, (at.weekday() + 1) % 7 in weekdays)
    return at.minute in minutes and at.hour in hours and at.month in months and (any(by_day) if either else all(by_day))


@settings(max_examples=60, deadline=None)
@given(expression(), st.integers(0, LAST))
def test_an_expression_is_due_at_the_minutes_that_its_fields_name(
    it: tuple[str, list[set[int]], bool], now: int
) -> None:
    text, values, either = it
    schedule = parse(f"{text}=1")
    assert schedule is not None
    cron = schedule.entries[0].cron
    before = next((minute for minute in range(now, now - STEPPED, -1) if due(minute, values, either)), None)
    after = next((minute for minute in range(now + 1, now + STEPPED) if due(minute, values, either)), None)
    found = cron.before(now), cron.after(now)
    assert found[0] == before or (before is None and found[0] is not None and found[0] <= now - STEPPED)
    assert found[1] == after or (after is None and found[1] is not None and found[1] >= now + STEPPED)
    assert all(due(minute, values, either) for minute in found if minute is not None)
