"""What things cost: prices.toml as an object. The file is the only place where a price stands."""

import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

from lambda_dispatch.errors import ConfigError

FILE = Path(__file__).with_name("prices.toml")


class Price(NamedTuple):
    value: float  # US dollars per unit
    unit: str
    page: str  # of the provider: what counts
    read_at: str  # where the value was read
    date: date  # when


def load(other: str | Path | None = None) -> dict[str, Price]:
    """Every price by its name; those of the file `other` replace ours."""
    prices = _read(FILE.read_text(), str(FILE))
    if other is not None:
        try:
            text = Path(other).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"prices file {str(other)!r}: {error}; name a readable TOML file"]) from None
        given = _read(text, str(other))
        unknown = sorted(set(given) - set(prices))
        if unknown:
            raise ConfigError(
                [f"{other}: [{name}] is not a price known here; known: {', '.join(prices)}" for name in unknown]
            )
        prices.update(given)
    return prices


def _read(text: str, name: str) -> dict[str, Price]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name} is no TOML: {error}; write it as lambda_dispatch/prices.toml"]) from None
    problems: list[str] = []
    prices = {}
    for key, entry in document.items():
        price = _price(entry)
        if price is None:
            problems.append(
                f"{name}: [{key}] needs value (a number, 0 or more), unit, page, read_at and date (YYYY-MM-DD)"
            )
        else:
            prices[key] = price
    if problems:
        raise ConfigError(problems)
    return prices


def _price(entry: object) -> Price | None:
    if not isinstance(entry, Mapping) or set(entry) != set(Price._fields):
        return None
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        return None
    if type(entry["date"]) is not date or not all(isinstance(entry[key], str) for key in ("unit", "page", "read_at")):
        return None
    return Price(float(value), entry["unit"], entry["page"], entry["read_at"], entry["date"])
