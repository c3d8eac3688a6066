"""`lambda-dispatch lambda`: the embedded Lambda by itself; `lambda-dispatch lambda ctl`: its knobs while it runs."""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import uvloop

from lambda_dispatch.local.commands.options import (
    RESULT_ERROR,
    USAGE_ERROR,
    Parser,
    UsageError,
    add_direct_options,
    add_knob_options,
    log_line,
    pairs,
    read_knobs,
    split_command,
)
from lambda_dispatch.local.environment.environment import Environment
from lambda_dispatch.local.environment.process import orphans_adopted
from lambda_dispatch.local.function import RUNTIMES, Function, FunctionConfigError
from lambda_dispatch.local.service.local_lambda import LocalLambda, LocalLambdaConfig, PortError


def _parser() -> Parser:
    parser = Parser(
        prog="lambda-dispatch lambda",
        description="A local AWS Lambda: Invoke API, and environments as real processes.",
        epilog="lambda-dispatch lambda ctl --help shows what can be done while it runs.",
        usage="lambda-dispatch lambda [OPTIONS] --function-name NAME [OPTIONS] -- COMMAND…\n"
        "       lambda-dispatch lambda [OPTIONS] --config FUNCTIONS.toml",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the Invoke API, default 127.0.0.1")
    parser.add_argument("--lambda-port", type=int, default=5051, metavar="PORT", help=(
        "port of the Invoke API, default 5051; 0 picks one"
    ))  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="functions in TOML, beside --function-name or alone"
    )
    parser.add_argument("--quiet", action="store_true", help="no START, END and REPORT lines")
    one = parser.add_argument_group("one function")
    one.add_argument("--function-name", metavar="NAME", help="its name; the command follows --")
    one.add_argument("--runtime", choices=RUNTIMES, default="provided", help=(
        "what COMMAND is: provided, the runtime process itself; dispatch or direct, a web application to run beside "
        "the extension, which serves the router's invokes and direct events alike"
    ))  # fmt: skip
    one.add_argument("--extension", action="append", default=[], metavar="CMD", help=(
        "an external extension, started before the runtime; split at blanks; may be repeated"
    ))  # fmt: skip
    one.add_argument("--extensions-dir", default="", metavar="DIR", help=(
        "every file in it is an external extension, as Lambda has it with /opt/extensions"
    ))  # fmt: skip
    one.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    one.add_argument("--handler", default="", help="_HANDLER for the runtime")
    one.add_argument("--timeout", type=float, default=900.0, help="seconds, default 900")
    one.add_argument("--init-timeout", type=float, default=10.0, help="seconds, default 10")
    one.add_argument("--memory", type=int, default=1024, help="MB, reported and not enforced, default 1024")
    one.add_argument("--reserved-concurrency", type=int, metavar="N", help=(
        "invokes of this function at once, default no limit of its own"
    ))  # fmt: skip
    one.add_argument("--environment-concurrency", type=int, default=1, metavar="N", help=(
        "invokes at once in one environment, as on Lambda Managed Instances; default 1"
    ))  # fmt: skip
    one.add_argument("--tenant-isolation", action="store_true", help=(
        "each invoke names its tenant, and no environment serves two tenants"
    ))  # fmt: skip
    one.add_argument("--alias", action="append", default=[], metavar="NAME[=VERSION]", help="may be repeated")
    one.add_argument("--app-port", type=int, metavar="PORT", help=(
        "PORT for the application; pins it, and so allows one environment; default is a free one for each"
    ))  # fmt: skip
    direct = parser.add_argument_group("direct mode")
    direct.add_argument("--direct-port", type=int, metavar="PORT", help="HTTP front, one request per environment")
    direct.add_argument("--direct-function", metavar="NAME", help=(
        "the function it invokes; default is the one of --function-name"
    ))  # fmt: skip
    add_direct_options(direct)
    add_knob_options(parser)
    parser.rename(
        {"--function": "--function-name", "--port": "--lambda-port", "--concurrency": "--reserved-concurrency"}
    )
    return parser


def _functions(given: argparse.Namespace, command: list[str]) -> list[Function]:
    functions = []
    if given.function_name is not None:
        functions.append(
            Function(
                name=given.function_name,
                command=tuple(command),
                runtime=given.runtime,
                extensions=tuple(tuple(extension.split()) for extension in given.extension),
                extensions_directory=given.extensions_dir,
                environment=pairs(given.env, "--env"),
                handler=given.handler,
                timeout=given.timeout,
                init_timeout=given.init_timeout,
                memory=given.memory,
                concurrency=given.reserved_concurrency,
                environment_concurrency=given.environment_concurrency,
                tenant_isolation=given.tenant_isolation,
                aliases={name: version or "$LATEST" for name, _, version in (a.partition("=") for a in given.alias)},
                port=given.app_port,
            )
        )
    elif command:
        raise UsageError("a command needs a function: --function-name NAME -- COMMAND…")
    if given.config is not None:
        functions += read_functions(given.config)
    if not functions:
        raise UsageError("no function: give --function-name NAME -- COMMAND… or --config FILE")
    names = [function.name for function in functions]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"function {name} is there {names.count(name)} times")
    return functions


def read_functions(path: Path) -> list[Function]:
    """Functions of a TOML file: one table [functions.NAME] each, with the fields of Function."""
    try:
        tables = tomllib.loads(path.read_text()).get("functions", {})
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return [_function_of_table(path, name, table) for name, table in tables.items()]


_TABLE_TYPES: dict[str, tuple[type, ...]] = {
    "command": (list,),
    "runtime": (str,),
    "extensions": (list,),
    "extensions_directory": (str,),
    "environment": (dict,),
    "handler": (str,),
    "timeout": (int, float),
    "init_timeout": (int, float),
    "memory": (int,),
    "concurrency": (int,),
    "environment_concurrency": (int,),
    "tenant_isolation": (bool,),
    "aliases": (dict,),
    "directory": (str,),
    "region": (str,),
    "port": (int,),
}


def _function_of_table(path: Path, name: str, table: dict[str, Any]) -> Function:
    for key, value in table.items():
        types = _TABLE_TYPES.get(key)
        if types is None:
            raise UsageError(f"{path}: functions.{name}.{key}: no such setting; there are {', '.join(_TABLE_TYPES)}")
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise UsageError(f"{path}: functions.{name}.{key} = {value!r}: {' or '.join(t.__name__ for t in types)}")
    table = dict(table)
    for key in ("environment", "aliases"):
        if key in table:
            table[key] = {inner: str(value) for inner, value in table[key].items()}
    table["command"] = tuple(map(str, table.get("command", ())))
    extensions = table.get("extensions", ())
    table["extensions"] = tuple(tuple(e.split()) if isinstance(e, str) else tuple(map(str, e)) for e in extensions)
    return Function(name=name, **table)


def _configure(given: argparse.Namespace, command: list[str]) -> LocalLambdaConfig:
    functions = _functions(given, command)
    direct_function = given.direct_function or ""
    if given.direct_port is not None and not direct_function:
        direct_function = functions[0].name
    if direct_function and direct_function not in [function.name for function in functions]:
        raise UsageError(f"--direct-function {direct_function}: no such function")
    if given.direct_port is not None and given.direct_event != "v1":
        isolated = next(each for each in functions if each.name == direct_function).tenant_isolation
        if isolated:
            raise UsageError("--tenant-isolation: only API Gateway v1 can name a tenant; add --direct-event v1")
    for name, port in (("--lambda-port", given.lambda_port), ("--direct-port", given.direct_port)):
        if port is not None and not 0 <= port <= 65535:
            raise UsageError(f"{name} {port}: 0 to 65535")
    return LocalLambdaConfig(
        functions=functions,
        host=given.host,
        port=given.lambda_port,
        direct_port=given.direct_port,
        direct_function=direct_function,
        direct_event=given.direct_event,
        direct_mode=given.direct_mode,
        knobs=read_knobs(given),
    )


async def _serve(config: LocalLambdaConfig, quiet: bool) -> None:
    def write_log(environment: Environment | None, source: str, line: str) -> None:
        if not (quiet and source == "platform"):
            print(log_line(environment, line), file=sys.stderr, flush=True)

    local = LocalLambda(config, write_log)
    await local.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    print(f"embedded Lambda on {local.url}   (export AWS_ENDPOINT_URL_LAMBDA={local.url})")
    for function in config.functions:
        limit = "" if function.concurrency is None else f", at most {function.concurrency} at once"
        print(f"  function {function.name}: {' '.join(function.runtime_command())}   ({function.timeout:g} s{limit})")
    if config.direct_port is not None:
        most = next(each for each in config.functions if each.name == config.direct_function).environment_concurrency
        many = "one request" if most == 1 else f"{most} requests"
        print(f"  direct mode on http://127.0.0.1:{local.direct_port}: {many} per environment")
    sys.stdout.flush()
    with orphans_adopted():
        try:
            await stop.wait()
        finally:
            await local.close()


def main(argv: list[str]) -> int:
    if argv[:1] == ["ctl"]:
        return control(argv[1:])
    options, command = split_command(argv)
    parser = _parser()
    given = parser.parse_args(parser.current(options))
    try:
        uvloop.run(_serve(_configure(given, command), given.quiet))
    except (UsageError, FunctionConfigError) as error:
        print(f"lambda-dispatch lambda: {error}", file=sys.stderr)
        return USAGE_ERROR
    except PortError as error:
        print(f"lambda-dispatch lambda: {error}", file=sys.stderr)
        return RESULT_ERROR
    return 0


# ctl


def _control_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lambda-dispatch lambda ctl", description="Looks at and turns a running embedded Lambda."
    )
    parser.add_argument("--url", default="http://127.0.0.1:5051", help="its Invoke API, default http://127.0.0.1:5051")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the environments")
    verbs.add_parser("status", help="everything, as JSON")
    turn = verbs.add_parser("set", help="turn knobs: NAME=VALUE…")
    turn.add_argument("knobs", nargs="+", metavar="NAME=VALUE")
    change = verbs.add_parser("function", help="change a function: concurrency, timeout, init_timeout")
    change.add_argument("name")
    change.add_argument("settings", nargs="+", metavar="NAME=VALUE")
    for verb, help_text in (
        ("kill", "SIGKILL an environment, as if its machine died"),
        ("freeze", "stop an environment until it is thawed"),
        ("thaw", "let it go on"),
        ("stop", "shut it down with SHUTDOWN and SIGTERM"),
    ):
        verbs.add_parser(verb, help=help_text).add_argument("id", help="its id, or how that begins")
    return parser


def control(argv: list[str]) -> int:
    given = _control_parser().parse_args(argv)
    base = given.url.rstrip("/") + "/_local/"
    try:
        if given.verb in ("list", "status"):
            status = _call("GET", base + "status")
            print(json.dumps(status, indent=2) if given.verb == "status" else _table(status["environments"]))
        elif given.verb == "set":
            print(json.dumps(_call("PATCH", base + "knobs", pairs(given.knobs, "set")), indent=2))
        elif given.verb == "function":
            settings: dict[str, Any] = {}
            for key, text in pairs(given.settings, "function").items():
                settings[key] = text
                with contextlib.suppress(json.JSONDecodeError):
                    settings[key] = json.loads(text)
            name = urllib.parse.quote(given.name, safe="")
            print(json.dumps(_call("PATCH", base + f"functions/{name}", settings), indent=2))
        else:
            prefix = urllib.parse.quote(given.id, safe="")
            print(_table([_call("POST", base + f"environments/{prefix}/{given.verb}")]))
    except (UsageError, urllib.error.URLError) as error:
        message = str(error)
        if isinstance(error, urllib.error.HTTPError):
            with error:
                message = error.read().decode("utf-8", "replace").strip()
        elif isinstance(error, urllib.error.URLError):
            message = f"no embedded Lambda at {given.url} ({error.reason}); start one, or name it with --url"
        print(f"lambda-dispatch lambda ctl: {message}", file=sys.stderr)
        return RESULT_ERROR
    return 0


def _call(method: str, url: str, value: object = None) -> Any:
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def _table(environments: list[dict[str, Any]]) -> str:
    if not environments:
        return "no environments"
    rows = [("ID", "FUNCTION", "STATE", "FROZEN", "SERVED", "PORT", "AGE", "PIDS")]
    rows += [
        (
            e["id"][:12],
            e["function"],
            e["state"],
            "held" if e["held"] else "yes" if e["frozen"] else "no",
            str(e["served"]),
            str(e["port"]),
            f"{e['age_s']:.0f}s",
            " ".join(map(str, e["pids"])),
        )
        for e in environments
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
