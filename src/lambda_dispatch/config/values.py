"""Texts to values, for the options.

Each kind returns the value or raises ValueError; `allowed` says in words what it accepts, for the error message.
"""

import re
from collections.abc import Callable, Mapping
from datetime import time
from typing import Any, NamedTuple

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_CLOCK = re.compile(r"(?:([0-9]{1,4})\.)?([0-9]{1,2}):([0-5]?[0-9])(?::([0-5]?[0-9](?:\.[0-9]{1,9})?))?")
_SIZE = re.compile(r"([0-9]{1,12}) ?(|B|[Kk]i?B?|[Mm]i?B?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_YES = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Kind(NamedTuple):
    parse: Callable[[str], Any]
    allowed: str
    boolean: bool = False
    toml: tuple[type, ...] = (str,)  # how a file may write it
    choices: tuple[str, ...] = ()  # all that it accepts, where that is a short list
    words: Mapping[Any, str] = {}  # values that are written as a word

    def written(self, value: Any) -> Any:
        """A value as the configuration has it."""
        return self.words.get(value, value)


def _check(condition: bool) -> None:
    if not condition:
        raise ValueError


def whole(low: int, high: int, also: int | None = None, also_means: str = "") -> Kind:
    def parse(text: str) -> int:
        _check(_WHOLE.fullmatch(text) is not None)
        value = int(text)
        _check(low <= value <= high or value == also)
        return value

    extra = "" if also is None else f", or {also}: {also_means}"
    return Kind(parse, f"a whole number from {low} to {high}{extra}", toml=(int,))


def or_auto(kind: Kind, value: int) -> Kind:
    """`auto`, which is `value`, too."""

    def parse(text: str) -> Any:
        return value if text.lower() == "auto" else kind.parse(text)

    return Kind(parse, f"auto, or {kind.allowed}", toml=(*kind.toml, str), words={value: "auto"})


def decimal(low: float, high: float) -> Kind:
    def parse(text: str) -> float:
        _check(_DECIMAL.fullmatch(text) is not None)
        value = float(text)
        _check(low <= value <= high)
        return value

    return Kind(parse, f"a number from {low:g} to {high:g}", toml=(int, float))


def seconds(low: float, high: float) -> Kind:
    def parse(text: str) -> float:
        clock = _CLOCK.fullmatch(text)
        if clock:
            days, hours, minutes, rest = clock.groups()
            value = int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(rest or 0)
        else:
            _check(_DECIMAL.fullmatch(text) is not None)
            value = float(text)
        _check(low <= value <= high)
        return value

    return Kind(parse, f"seconds or HH:MM:SS, from {low:g} to {high:g} s", toml=(int, float, str, time))


def size(low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        _check(match is not None)
        assert match is not None
        value = int(match[1]) * {"K": 1024, "M": 1024 * 1024}.get(match[2][:1].upper(), 1)
        _check(low <= value <= high)
        return value

    return Kind(parse, f"bytes, with KiB or MiB if you like, from {low} to {high}", toml=(int, str))


def choice(*names: str) -> Kind:
    def parse(text: str) -> str:
        _check(text.lower() in names)
        return text.lower()

    return Kind(parse, " or ".join((", ".join(names[:-1]), names[-1])), choices=names)


def names_of(*names: str) -> Kind:
    def parse(text: str) -> str:
        found = [name.strip().lower() for name in text.split(",")]
        _check(set(found) <= set(names) and len(set(found)) == len(found))
        return ",".join(found)

    return Kind(parse, f"some of {', '.join(names)}, each once, with commas between them")


def matching(pattern: str, allowed: str) -> Kind:
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        _check(compiled.fullmatch(text) is not None)
        return text

    return Kind(parse, allowed)


def _boolean(text: str) -> bool:
    _check(text.lower() in _YES)
    return _YES[text.lower()]


def _variable(text: str) -> str:
    _check(_VARIABLE.fullmatch(text) is not None)
    return text


boolean = Kind(_boolean, "true or false", boolean=True, toml=(bool,), choices=("true", "false"))
variable = Kind(_variable, "the name of an environment variable: letters, digits and _, not starting with a digit")
# A NUL cannot stand in a path, a line end would break a line of the log, and what is no Unicode cannot be shown.
text = matching(r"[^\x00-\x1f\x7f\ud800-\udfff]*", "text without control characters")
