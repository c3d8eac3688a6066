"""Numbers by chance: what `--cold 2` or `--service lognormal:0.05:0.8` means."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Sampler = Callable[[], float]

# Each kind: the names of its numbers, and what it is.
KINDS = {
    "constant": (("VALUE",), "always VALUE"),
    "uniform": (("LOW", "HIGH"), "anything from LOW to HIGH"),
    "exponential": (("MEAN",), "exponential"),
    "normal": (("MEAN", "DEVIATION"), "normal, never below 0"),
    "lognormal": (("MEDIAN", "SIGMA"), "log-normal: SIGMA is the deviation of the logarithm"),
    "pareto": (("LEAST", "ALPHA"), "Pareto, a heavy tail: LEAST or more, the heavier the smaller ALPHA"),
}


class DistributionError(ValueError):
    """Not a distribution; the text says why."""


@dataclass(frozen=True, slots=True)
class Distribution:
    kind: str
    numbers: tuple[float, ...]

    def sampler(self, chance: Random) -> Sampler:
        first, second = (*self.numbers, 0.0)[:2]
        match self.kind:
            case "constant":
                return lambda: first
            case "uniform":
                return lambda: first + (second - first) * chance.random()
            case "exponential":
                return lambda: chance.expovariate(1 / first)
            case "normal":
                return lambda: max(0.0, chance.normalvariate(first, second))
            case "lognormal":
                mu = math.log(first)
                return lambda: chance.lognormvariate(mu, second)
            case _:
                return lambda: first * chance.paretovariate(second)

    @property
    def mean(self) -> float:
        first, second = (*self.numbers, 0.0)[:2]
        match self.kind:
            case "uniform":
                return (first + second) / 2
            case "lognormal":
                return first * math.exp(second * second / 2)
            case "pareto":
                return first * second / (second - 1) if second > 1 else math.inf
            case _:
                return first  # normal: but for what is cut off below 0

    def __str__(self) -> str:
        numbers = ":".join(f"{number:g}" for number in self.numbers)
        return numbers if self.kind == "constant" else f"{self.kind}:{numbers}"


def parse(text: str) -> Distribution:
    """`0.05`, `uniform:1:3`, `lognormal:0.05:0.8` ...; seconds."""
    kind, *rest = text.strip().split(":")
    if kind not in KINDS:
        kind, rest = "constant", [kind, *rest]
    names = KINDS[kind][0]
    form = ":".join(names if kind == "constant" else (kind, *names))
    if len(rest) != len(names):
        raise DistributionError(f"{text!r} is no distribution; {kind} is written {form}")
    numbers = []
    for name, word in zip(names, rest, strict=True):
        try:
            number = float(word)
        except ValueError:
            raise DistributionError(
                f"{text!r} is no distribution: {word!r} is no number; write a number of seconds, "
                f"or one of {', '.join(sorted(KINDS))} with its numbers, as in lognormal:0.05:0.8"
            ) from None
        if not math.isfinite(number) or number < 0:
            raise DistributionError(f"{text!r} is no distribution: {name} must be a number from 0 up, not {word}")
        numbers.append(number)
    if (kind == "exponential" and numbers[0] == 0) or (kind in ("lognormal", "pareto") and 0 in (numbers[0],)):
        raise DistributionError(f"{text!r} is no distribution: {names[0]} must be more than 0")
    if kind == "uniform" and numbers[0] > numbers[1]:
        raise DistributionError(f"{text!r} is no distribution: LOW is more than HIGH")
    if kind == "pareto" and numbers[1] == 0:
        raise DistributionError(f"{text!r} is no distribution: ALPHA must be more than 0")
    return Distribution(kind, tuple(numbers))
