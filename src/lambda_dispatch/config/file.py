"""Options out of a TOML file: flat, each under a name of the option in any case, with or without dashes.

A wrong key ends the start, unlike a wrong variable of the environment: no other program writes into this file.
"""

import datetime
import difflib
import os
import stat
import tomllib
from decimal import Decimal
from typing import Any

from lambda_dispatch.config.findings import Findings
from lambda_dispatch.config.options import OPTIONS, PREFIX, key_of

# Every option with a comment is some 20 KB.
LONGEST = 1 << 20
TYPES = {
    bool: "true or false, without quotes",
    int: "a whole number, without quotes",
    float: "a number, without quotes",
    str: 'a string, in "quotes"',
    datetime.time: "a local time",
}


def read(found: Findings, path: str) -> None:
    """Adds what the file says and nothing else has said; what is wrong with it is a problem in any case."""
    document = _parse(found, path)
    attributes = {key_of(attribute): attribute for attribute in OPTIONS}
    attributes.update({key_of(option.name): attribute for attribute, option in OPTIONS.items()})
    spelt: dict[str, str] = {}
    for key, value in document.items():
        attribute = attributes.get(key_of(key))
        if isinstance(value, dict):
            found.problems.append(f"{path}: [{key}] is a table; write its options at the top level, without it")
        elif attribute is None:
            found.problems.append(f"{path}: {key} is no option; {_nearest(key)}")
        elif attribute == "config_file":
            found.problems.append(f"{path}: {key} names another file; remove it, and use --config or {PREFIX}Config")
        elif attribute in spelt:
            found.problems.append(f"{path}: {spelt[attribute]} and {key} mean the same; remove one")
        else:
            spelt[attribute] = key
            _take(found, attribute, value, f"{path}: {key}")


def _parse(found: Findings, path: str) -> dict[str, Any]:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is no regular file, which could be read again")
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError(f"is longer than {LONGEST} bytes")
        return tomllib.loads(text.decode())
    except OSError as error:
        state = "is a directory" if os.path.isdir(path) else f"cannot be read: {error.strerror}"
        found.problems.append(f"{found.name_of('config_file')} is {path!r}, which {state}; name a readable TOML file")
    except UnicodeDecodeError:
        found.problems.append(f"{path} is not UTF-8 text; save it as such")
    except tomllib.TOMLDecodeError as error:
        found.problems.append(f"{path} is not TOML: {error}; write one NAME = VALUE per line, strings in quotes")
    except ValueError as error:
        found.problems.append(f"{path} {error}; name a file of options")
    except RecursionError:
        found.problems.append(f"{path} is nested too deeply; write one NAME = VALUE per line")
    return {}


def _without_waiting(path: str, flags: int) -> int:
    """A pipe without a writer must not hold up the router, which reads the file again while it serves."""
    return os.open(path, flags | os.O_NONBLOCK)


def _nearest(key: str) -> str:
    names = {key_of(option.name): option.name for option in OPTIONS.values()}
    bare = key_of(key).removeprefix(key_of(PREFIX))
    if bare in names:
        return f"write {names[bare]}"
    near = difflib.get_close_matches(bare, names, 1, 0.5)
    rest = "remove it (`lambda-dispatch router --help` lists the options)"
    return f"did you mean {names[near[0]]}? Or {rest}" if near else rest


def _take(found: Findings, attribute: str, value: Any, where: str) -> None:
    option = OPTIONS[attribute]
    if type(value) not in option.kind.toml:
        shown = "a value that is not shown" if option.secret else f"{_shown(value)}"
        wanted = " or ".join(TYPES[each] for each in option.kind.toml)
        found.problems.append(f"{where} is {shown}; write {option.kind.allowed} as {wanted}")
        return
    if attribute in found.values:
        # It is said elsewhere, but a wrong value is wrong all the more when that goes away.
        checked = Findings()
        checked.take(attribute, option.kind, _text(value), where)
        found.problems += checked.problems
    elif value != "":
        found.take(attribute, option.kind, _text(value), where)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    return value.isoformat() if isinstance(value, datetime.time) else str(value)


def _shown(value: Any) -> str:
    kinds = {bool: "a truth value", int: "a whole number", float: "a number", str: "a string", list: "a list"}
    return f"{_text(value)!r} ({kinds.get(type(value), 'a date or time')})"
