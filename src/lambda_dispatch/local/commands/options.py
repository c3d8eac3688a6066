"""What the command lines of `dev` and `lambda` have in common."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lambda_dispatch.local.environment.environment import Environment
from lambda_dispatch.local.knobs import KNOBS, SEED, KnobError, Knobs
from lambda_dispatch.local.service.direct import MODES
from lambda_dispatch.local.service.shapes import SHAPES

RESULT_ERROR = 1
USAGE_ERROR = 2


class UsageError(Exception):
    """A command line that is refused; the message is meant for the user."""


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names, and by names of earlier versions with a line that says the new one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self._renamed: Mapping[str, str] = {}

    def rename(self, renamed: Mapping[str, str]) -> None:
        self._renamed = renamed

    def current(self, argv: Sequence[str]) -> list[str]:
        """The arguments with every earlier name replaced."""
        words = []
        for word in argv:
            name, equals, value = word.partition("=")
            if name in self._renamed:
                print(f"{self.prog}: {name} is deprecated; use {self._renamed[name]}", file=sys.stderr)
                name = self._renamed[name]
            words.append(name + equals + value)
        return words


def add_knob_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("knobs (also while it runs: lambda-dispatch lambda ctl set NAME=VALUE)")
    for knob in KNOBS:
        if knob.option:
            group.add_argument(knob.option, dest=f"knob_{knob.name}", metavar="X", help=knob.help)
    group.add_argument(SEED[0], dest="knob_seed", metavar="X", help=SEED[1])
    group.add_argument("--no-freeze", action="store_true", help="do not stop environments (SIGSTOP) between invokes")


def read_knobs(given: argparse.Namespace) -> Knobs:
    knobs = Knobs()
    for name, option in [*((knob.name, knob.option) for knob in KNOBS if knob.option), ("seed", SEED[0])]:
        value = getattr(given, f"knob_{name}")
        if value is not None:
            try:
                knobs.set(name, value)
            except KnobError as error:
                raise UsageError(f"{option}: {error}") from None
    if given.no_freeze:
        knobs.freeze = False
    return knobs


def add_direct_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--direct-event", choices=SHAPES, default="url", help=(
        "whose events --direct-port makes of requests: url (a function URL, the default), v2 and v1 (API Gateway), alb "
        "and alb-multi (load balancer, with multi-value headers)"
    ))  # fmt: skip
    parser.add_argument("--direct-mode", choices=MODES, default="buffered", help=(
        "invoke mode of --direct-port, as of a function URL; default buffered"
    ))  # fmt: skip


def split_command(argv: list[str]) -> tuple[list[str], list[str]]:
    """Options before the first `--`, the command after it."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def pairs(given: list[str], option: str) -> dict[str, str]:
    found = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"{option} {pair!r}: KEY=VALUE")
        found[key] = value
    return found


def log_line(environment: Environment | None, line: str) -> str:
    return line if environment is None else f"{environment.function.name}/{environment.id[:8]}  {line}"
