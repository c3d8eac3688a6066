"""`lambda-dispatch ctl`: tells a running router what to do, over its Unix socket. docs/operations.md says when."""

import argparse
import getpass
import json
import math
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import Any

from lambda_dispatch.exits import EX_UNAVAILABLE, EX_USAGE
from lambda_dispatch.supervisor import runtime
from lambda_dispatch.telemetry.status import NoRouter, duration, find

PATIENCE = 5.0  # s
MAX_ANSWER = 1024 * 1024  # bytes
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Failed(Exception):
    """The text says what to do."""


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    command = command_of(options)
    try:
        answer = send(command, options.pid)
    except (NoRouter, Failed) as error:
        print(f"lambda-dispatch ctl: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    if options.json:
        print(json.dumps(answer, indent=2))
    elif not answer["ok"]:
        print(f"lambda-dispatch ctl: {answer['error']}", file=sys.stderr)
    else:
        print(text(answer))
    return 0 if answer["ok"] else EX_USAGE if answer["status"] == 400 else 1


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="the answer as JSON")
    common.add_argument("--pid", type=int, help="the router's process, when there are several")
    common.add_argument("--who", help="who asks; your user name if not given")
    common.add_argument("--reason", help="why: shown for as long as it lasts, and in the log")
    timed = argparse.ArgumentParser(add_help=False)
    timed.add_argument("--for", dest="ttl", type=span, metavar="TIME", help="ends by itself: 90s, 15m, 2h, 1d")
    pool = argparse.ArgumentParser(add_help=False)
    pool.add_argument("pool", nargs="?", metavar="POOL", help="the function's name; the configured one if not given")

    top = argparse.ArgumentParser(
        prog="lambda-dispatch ctl",
        description="Tells a running router what to do, and prints the new state. Everything may be repeated.",
    )
    ops = top.add_subparsers(dest="op", required=True, metavar="COMMAND")

    def add(name: str, about: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return ops.add_parser(name, help=about, description=about, parents=[*parents, common])

    add("state", "what is overridden now, of a pool or of the router", pool)
    limits = add("limits", "other limits of a pool than the configured ones", pool, timed)
    limits.add_argument("--min", type=int, metavar="N", help="instances kept open")
    limits.add_argument("--max", type=int, metavar="N", help="instances at most")
    limits.add_argument("--clear", action="store_true", help="back to the configured limits")
    add("pause", "hold the number of instances, whatever the demand; what ends is replaced", pool, timed)
    add("resume", "let demand decide again", pool)
    recycle = add("recycle", "replace the instances that there are now, one by one", pool)
    recycle.add_argument("--max-unavailable", type=int, metavar="N", help="so many at once instead of 1")
    recycle.add_argument("--stop", action="store_true", help="keep those that are left")
    add("breaker", "reset a pool's breaker: what made its starts fail is repaired", pool)
    instance = add("drain-instance", "replace one instance")
    instance.add_argument("instance", metavar="ID", help="the first eight hex digits of its id, as status shows them")
    add("drain", "ask for no more clients: /readyz and /health answer 503, what comes is served", timed)
    add("undrain", "take clients again")
    level = add("log-level", "log more or less for a while, 15 minutes unless --for says otherwise", timed)
    level.add_argument("level", choices=("debug", "info", "warning", "error", "default"))
    add("reload", "what SIGHUP does: read configuration and certificate again")
    return top


def span(value: str) -> float:
    """Seconds: a number and a unit; several may follow each other."""
    found = re.findall(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", value, re.ASCII)
    total = sum(float(number) * UNITS[unit] for number, unit in found)
    if "".join(number + unit for number, unit in found) != value or not value or not math.isfinite(total):
        raise argparse.ArgumentTypeError(f"{value!r} is no time; write 90s, 15m, 2h, 1d or 1h30m")
    return total


def command_of(options: argparse.Namespace) -> dict[str, Any]:
    command = {
        name: value
        for name, value in vars(options).items()
        if name not in ("json", "pid") and value is not None and value is not False
    }
    return {**command, "who": options.who or _me()}


def _me() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.geteuid()}"


def send(command: Mapping[str, Any], pid: int | None = None) -> dict[str, Any]:
    """The router's answer."""
    pid = pid or find()
    path = runtime.command_path(pid)
    if not path:
        raise Failed(f"process {pid} is no router of this user, or takes no commands")
    return call(path, command)


def call(path: str, command: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the router whose socket this is."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(path)
            sock.sendall(json.dumps(command).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < MAX_ANSWER:
                data = sock.recv(65536)
                if not data:
                    break
                answer += data
    except OSError as error:
        raise Failed(f"router at {path}: {error.strerror or error}") from error
    if not answer.endswith(b"\n"):
        raise Failed(f"router at {path} hung up; its log says why")
    found: dict[str, Any] = json.loads(answer)
    return found


def text(answer: Mapping[str, Any]) -> str:
    router, pool = answer.get("router"), answer.get("pool")
    lines = [] if answer["taken_up"] else ["the scaler does not answer; it takes the command up when it is back"]
    if router is not None:
        lines.append(
            f"router {'draining' if router['draining'] else 'taking clients'}, log level {router['log_level']}"
        )
        overrides = router["overrides"]
    else:
        assert pool is not None
        lines.append(
            f"{pool['function']}: {pool['open']} open, {pool['starting']} starting, {pool['draining']} draining, "
            f"{pool['desired']} desired, min {pool['min_instances']}, max {pool['max_instances']}, "
            f"breaker {pool['breaker']}"
        )
        overrides = pool["overrides"]
    for it in overrides:
        left = "until cleared" if it["left"] is None else f"for {duration(it['left'])} more"
        lines.append(f"  {it['says']} {left}, by {it['who']}: {it['reason']}")
    return "\n".join(lines if overrides else [*lines, "  nothing overridden"])
