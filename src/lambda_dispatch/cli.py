"""The command. A subcommand is imported when it is asked for: the extension starts next to somebody's application."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from lambda_dispatch.exits import EX_CONFIG, EX_USAGE

if TYPE_CHECKING:
    from lambda_dispatch.config import RouterConfig

USAGE = """\
usage: lambda-dispatch COMMAND [OPTIONS]

  router      the router: takes requests, invokes the function, hands requests to its instances
  status      what a running router is doing, read from its shared memory
  ctl         tells a running router what to do: limits, pause, recycle, drain, log level
  top         the same second by second in a terminal, of this machine or by an admin port
  healthcheck whether the router lives, or is ready: exit code 0 or 1
  extension   the process beside your application inside Lambda
  lambda      an embedded local Lambda service, for tests and development
  simulate    what scaling policies and settings would cost for given requests
  cost        what a load costs on Lambda with and without this, Fargate and Cloud Run
  dev         router, local Lambda and a demo application together
  version     the version; with --json also of what it runs on
  completions a script that completes this command's words in bash, zsh or fish

  lambda-dispatch COMMAND --help says more about each; --version prints the version.
"""

ELSEWHERE = {
    "extension": "lambda_dispatch_extension.main",
    "lambda": "lambda_dispatch.local.commands.lambda_command",
    "dev": "lambda_dispatch.local.commands.dev_command",
    "status": "lambda_dispatch.telemetry.status",
    "top": "lambda_dispatch.top",
    "cost": "lambda_dispatch.cost",
    "ctl": "lambda_dispatch.ctl",
    "healthcheck": "lambda_dispatch.healthcheck",
    "simulate": "lambda_dispatch.simulator.command",
    "completions": "lambda_dispatch.completions",
    "version": "lambda_dispatch.version",
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_descriptors()
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    match command:
        case "router":
            return router(rest)
        case _ if command in ELSEWHERE:
            return int(import_module(ELSEWHERE[command]).main(rest))
        case "--version" | "-V":
            from lambda_dispatch_core import __version__

            print(f"lambda-dispatch {__version__}")
            return 0
        case "--help" | "-h" | "help":
            print(USAGE, end="")
            return 0
        case "":
            print(USAGE, end="", file=sys.stderr)
            return EX_USAGE
        case _:
            print(f"lambda-dispatch: there is no command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
            return EX_USAGE


def _open_standard_descriptors() -> None:
    """A service manager, or `<&-`, may start us with 0, 1 or 2 closed; then the next file opened would get that number,
    and libuv refuses to close one of these."""
    from lambda_dispatch.telemetry.sink import open_standard_descriptors

    for fd in open_standard_descriptors():
        if fd == 1:
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        elif fd == 2:
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def router(arguments: list[str]) -> int:
    from lambda_dispatch import config
    from lambda_dispatch.errors import ConfigError

    if "--help" in arguments or "-h" in arguments:
        print(config.help_text(), end="")
        return 0
    asked: set[str] = {flag for flag in ("--check", "--print-config") if flag in arguments}
    if "--print-config" in asked and "--json" in arguments:
        asked.add("--json")
    try:
        loaded = config.load(os.environ, [argument for argument in arguments if argument not in asked])
    except ConfigError as error:
        for warning in error.warnings:
            print(f"lambda-dispatch: warning: {warning}", file=sys.stderr)
        for problem in error.problems:
            print(f"lambda-dispatch: {problem}", file=sys.stderr)
        return error.exit_code
    if asked:
        return show(loaded, asked)

    from lambda_dispatch.telemetry import log

    log.configure("supervisor", loaded.log_level, loaded.log_format)
    for warning in loaded.warnings:
        log.warning("configuration questionable", detail=warning)

    return int(import_module("lambda_dispatch.supervisor").run(loaded, lambda: config.load(os.environ, arguments)))


def show(loaded: "RouterConfig", asked: set[str]) -> int:
    from lambda_dispatch.config import effective

    if "--json" in asked:
        import json

        print(json.dumps(effective.document(loaded), indent=2, ensure_ascii=False))
    elif "--print-config" in asked:
        print(effective.toml(loaded))
    else:
        print(effective.table(loaded))
    for warning in loaded.warnings:
        print(f"lambda-dispatch: warning: {warning}", file=sys.stderr)
    return check_access(loaded) if "--check" in asked else 0


def check_access(loaded: "RouterConfig") -> int:
    """What --check says of AWS: region, credentials and endpoint, or what is missing."""
    from lambda_dispatch.scaler import access

    try:
        print(access.find(os.environ, loaded.function).describe())
    except access.AccessError as error:
        print(f"lambda-dispatch: {error}", file=sys.stderr)
        return EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
