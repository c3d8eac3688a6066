"""What can be turned while the embedded Lambda runs, to see how a system takes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

MAX_DELAY = 600.0  # seconds; a longer cold start is a typing error


class KnobError(ValueError):
    """A value no knob takes: the message names the knob, the value and the way out."""


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


def _rate(name: str, given: object) -> float:
    try:
        value = float(str(given))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise KnobError(f"{name} {given!r}: a share between 0 and 1")
    return value


def _count(name: str, given: object, lowest: int) -> int:
    text = str(given)
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < lowest:
        raise KnobError(f"{name} {given!r}: a whole number, at least {lowest}")
    return int(text)


@dataclass(slots=True)
class Knobs:
    """Shared by the fleet and all environments; `random` is seeded for runs that must repeat."""

    cold_start: Delay = field(default_factory=lambda: Delay.parse("0"))  # before the processes start; nobody is billed
    init_at_least: Delay = field(default_factory=lambda: Delay.parse("0"))  # init takes no less; billed
    crash_after: Delay = field(default_factory=lambda: Delay.parse("0"))  # into the invoke that was chosen to crash
    crash_rate: float = 0.0  # share of invokes whose environment is killed
    throttle_rate: float = 0.0  # share of invokes answered 429 before anything else
    concurrency: int = 100  # environments of all functions together: the account's limit (AWS begins at 1,000)
    burst: int = 1000  # environments a function may add per 10 s
    deadline_offset: float = 0.0  # seconds added to the deadline told to runtime and extensions, not to the real one
    freeze: bool = True  # SIGSTOP between invokes
    idle_timeout: float = 300.0  # seconds an environment stays around without an invoke
    event_retries: int = 2  # of an asynchronous invoke whose function failed
    event_retry_delay: float = 60.0  # seconds before the first of them, doubling
    random: Random = field(default_factory=Random)

    def set(self, name: str, given: object) -> None:
        if name in ("cold_start", "init_at_least", "crash_after"):
            setattr(self, name, Delay.parse(given))
        elif name in ("crash_rate", "throttle_rate"):
            setattr(self, name, _rate(name, given))
        elif name in ("concurrency", "event_retries"):
            setattr(self, name, _count(name, given, 0))
        elif name == "burst":
            self.burst = _count(name, given, 1)
        elif name in ("idle_timeout", "event_retry_delay"):
            setattr(self, name, _seconds(name, given, 0.0))
        elif name == "deadline_offset":
            self.deadline_offset = _seconds(name, given, -900.0)
        elif name == "freeze":
            text = str(given).lower()
            if text not in ("true", "false", "on", "off", "1", "0"):
                raise KnobError(f"freeze {given!r}: on or off")
            self.freeze = text in ("true", "on", "1")
        elif name == "seed":
            self.random.seed(str(given))
        else:
            raise KnobError(f"no knob {name!r}; there are: {', '.join([*self.as_dict(), 'seed'])}")

    def as_dict(self) -> dict[str, Any]:
        return {
            "cold_start": self.cold_start.text,
            "init_at_least": self.init_at_least.text,
            "crash_rate": self.crash_rate,
            "crash_after": self.crash_after.text,
            "throttle_rate": self.throttle_rate,
            "concurrency": self.concurrency,
            "burst": self.burst,
            "deadline_offset": self.deadline_offset,
            "freeze": self.freeze,
            "idle_timeout": self.idle_timeout,
            "event_retries": self.event_retries,
            "event_retry_delay": self.event_retry_delay,
        }


def _seconds(name: str, given: object, lowest: float) -> float:
    try:
        value = float(str(given))
    except ValueError:
        value = math.nan
    if not lowest <= value <= 86_400:
        raise KnobError(f"{name} {given!r}: seconds, {lowest:g} to 86400")
    return value
