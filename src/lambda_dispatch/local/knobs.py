"""What can be changed while the embedded Lambda runs, to see how a system reacts. KNOBS is the one table of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

MAX_DELAY = 600.0  # seconds; a longer cold start is a typing error


class KnobError(ValueError):
    """A value that no knob takes; the message names the knob, the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds, fixed or drawn: `2`, `uniform:2-4`, `normal:3,0.5`, `lognormal:MEDIAN,SIGMA`."""

    text: str
    _draw: Callable[[Random], float]

    def draw(self, source: Random) -> float:
        return min(max(0.0, self._draw(source)), MAX_DELAY)

    @classmethod
    def parse(cls, given: object) -> "Delay":
        text = str(given).strip()
        kind, colon, rest = text.partition(":")
        if not colon:
            fixed = _number(text, text)
            return cls(text, lambda source: fixed)
        a_text, _, b_text = rest.partition("-" if kind == "uniform" else ",")
        a, b = _number(a_text, text), _number(b_text, text)
        if kind == "uniform" and a <= b:
            return cls(text, lambda source: source.uniform(a, b))
        if kind == "normal":
            return cls(text, lambda source: source.gauss(a, b))
        if kind == "lognormal" and a > 0:
            return cls(text, lambda source: source.lognormvariate(math.log(a), b))
        raise KnobError(_DELAY_HELP.format(text))


_DELAY_HELP = "delay {!r}: seconds (2.5), uniform:2-4, normal:MEAN,SIGMA or lognormal:MEDIAN,SIGMA; at most 600 s"


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise KnobError(_DELAY_HELP.format(whole)) from None
    if not 0 <= value <= MAX_DELAY:
        raise KnobError(_DELAY_HELP.format(whole))
    return value


def _delay(name: str, given: object) -> Delay:
    return Delay.parse(given)


def _rate(name: str, given: object) -> float:
    try:
        value = float(str(given))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise KnobError(f"{name} {given!r}: a share between 0 and 1")
    return value


def _count(lowest: int) -> Callable[[str, object], int]:
    def parse(name: str, given: object) -> int:
        text = str(given)
        if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < lowest:
            raise KnobError(f"{name} {given!r}: a whole number, at least {lowest}")
        return int(text)

    return parse


def _seconds(lowest: float) -> Callable[[str, object], float]:
    def parse(name: str, given: object) -> float:
        try:
            value = float(str(given))
        except ValueError:
            value = math.nan
        if not lowest <= value <= 86_400:
            raise KnobError(f"{name} {given!r}: seconds, {lowest:g} to 86400")
        return value

    return parse


def _switch(name: str, given: object) -> bool:
    text = str(given).lower()
    if text not in ("true", "false", "on", "off", "1", "0"):
        raise KnobError(f"{name} {given!r}: on or off")
    return text in ("true", "on", "1")


class Knob(NamedTuple):
    """`option` is its name on the command line, `help` what is said there; both empty: only while it runs."""

    name: str
    default: object
    parse: Callable[[str, object], Any]
    option: str
    help: str


KNOBS = (
    Knob("cold_start", "0", _delay, "--cold-start",
         "seconds before an environment's processes start: 2, uniform:2-4, normal:3,0.5, lognormal:2,0.4; not billed"),
    Knob("init_at_least", "0", _delay, "--init-at-least",
         "seconds init takes if it would be over sooner, as an application that is slow to start; billed"),
    Knob("crash_rate", 0, _rate, "--crash-rate", "share of invokes whose environment is killed"),
    Knob("crash_after", "0", _delay, "--crash-after", "seconds into such an invoke"),
    Knob("throttle_rate", 0, _rate, "--throttle-rate", "share of invokes answered 429"),
    # AWS begins at 1,000
    Knob("concurrency", 100, _count(0), "--max-environments", "environments of all functions together, default 100"),
    Knob("burst", 1000, _count(1), "--burst", "environments a function may add per 10 s, default 1000"),
    Knob("deadline_offset", 0, _seconds(-900.0), "--deadline-offset",
         "seconds added to the deadline that runtime and extensions get; the real timeout stays"),
    Knob("freeze", True, _switch, "", ""),  # SIGSTOP between invokes; --no-freeze
    Knob("idle_timeout", 300, _seconds(0.0), "--idle-timeout", "seconds an unused environment is kept, default 300"),
    Knob("event_retries", 2, _count(0), "--event-retries", "retries of a failed asynchronous invoke, default 2"),
    Knob("event_retry_delay", 60, _seconds(0.0), "--event-retry-delay",
         "seconds before the first of them, doubling, default 60"),
)  # fmt: skip
SEED = ("--seed", "makes the random draws repeatable")
ALIASES = {"max_environments": "concurrency"}  # the option's name


@dataclass(slots=True)
class Knobs:
    """Shared by the fleet and all environments. The fields are those of KNOBS; `random` draws all delays and faults."""

    cold_start: Delay = field(init=False)
    init_at_least: Delay = field(init=False)
    crash_rate: float = field(init=False)
    crash_after: Delay = field(init=False)
    throttle_rate: float = field(init=False)
    concurrency: int = field(init=False)
    burst: int = field(init=False)
    deadline_offset: float = field(init=False)
    freeze: bool = field(init=False)
    idle_timeout: float = field(init=False)
    event_retries: int = field(init=False)
    event_retry_delay: float = field(init=False)
    random: Random = field(default_factory=Random)

    def __post_init__(self) -> None:
        for knob in KNOBS:
            self.set(knob.name, knob.default)

    def set(self, name: str, given: object) -> None:
        if name == "seed":
            self.random.seed(str(given))
            return
        name = ALIASES.get(name, name)
        knob = next((knob for knob in KNOBS if knob.name == name), None)
        if knob is None:
            raise KnobError(f"no knob {name!r}; there are: {', '.join([*self.as_dict(), 'seed'])}")
        setattr(self, name, knob.parse(name, given))

    def as_dict(self) -> dict[str, Any]:
        values = {knob.name: getattr(self, knob.name) for knob in KNOBS}
        return {name: value.text if isinstance(value, Delay) else value for name, value in values.items()}
