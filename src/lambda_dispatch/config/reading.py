"""The configuration out of its sources, checked: flags win over the environment, the environment over the file.

The flag is the attribute's name with dashes; the environment's name with dashes works too.
"""

import difflib
import re
from collections.abc import Mapping, Sequence

from lambda_dispatch.config.derive import derive
from lambda_dispatch.config.findings import Findings
from lambda_dispatch.config.options import FOREIGN, OPTIONS, PREFIX, RouterConfig, flag_of, key_of
from lambda_dispatch.errors import ConfigError


def load(environ: Mapping[str, str], argv: Sequence[str] = ()) -> RouterConfig:
    """The configuration, or ConfigError with everything that is wrong."""
    found = Findings()
    _environment(found, environ)
    _command_line(found, argv)
    if path := found.values.get("config_file"):
        from lambda_dispatch.config import file

        file.read(found, path)
    if not found.problems:
        derive(found)
    if found.problems:
        raise ConfigError(found.problems, tuple(found.warnings))
    return RouterConfig(**found.values, sources=found.sources, warnings=tuple(found.warnings))


def _environment(found: Findings, environ: Mapping[str, str]) -> None:
    by_key = {key_of(opt.name): attribute for attribute, opt in OPTIONS.items() if not opt.exact}
    foreign = {key_of(name) for name in FOREIGN}
    spelt: dict[str, tuple[str, str]] = {}
    for variable_name in sorted(environ):
        if not variable_name.upper().startswith(PREFIX) or not environ[variable_name].strip():
            continue  # set but empty is how templates say "not set"
        key = key_of(variable_name[len(PREFIX) :])
        attribute = by_key.get(key)
        if attribute is None:
            if key not in foreign:
                found.warnings.append(_unknown(variable_name, key, by_key))
            continue
        before = spelt.setdefault(attribute, (variable_name, environ[variable_name]))
        if before[1] != environ[variable_name]:
            found.problems.append(f"{before[0]} and {variable_name} differ and mean the same; remove one")
            continue
        found.take(attribute, OPTIONS[attribute].kind, environ[variable_name], variable_name)
    for attribute, opt in OPTIONS.items():
        if opt.exact and environ.get(opt.name, "").strip():
            found.take(attribute, opt.kind, environ[opt.name], opt.name)


def _command_line(found: Findings, argv: Sequence[str]) -> None:
    known = flags()
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        flag, equals, value = argument.partition("=")
        attribute = known.get(flag)
        negated = attribute is None and flag.startswith("--no-")
        if negated:
            attribute = known.get("--" + flag[len("--no-") :])
        if attribute is None or (negated and (equals or not OPTIONS[attribute].kind.boolean)):
            near = difflib.get_close_matches(flag, known, 1, 0.5)
            found.problems.append(f"unknown argument {argument!r}" + (f"; did you mean {near[0]}?" if near else ""))
            continue
        opt = OPTIONS[attribute]
        if opt.kind.boolean and not equals:
            value = "false" if negated else "true"
            if not negated and rest and rest[0].lower() in ("true", "false"):
                value = rest.pop(0)
        elif not equals:
            if not rest or rest[0] in known:
                found.problems.append(f"{flag} needs a value: {opt.kind.allowed}")
                continue
            value = rest.pop(0)
        found.take(attribute, opt.flag_kind or opt.kind, value, flag)


def _unknown(variable_name: str, key: str, by_key: Mapping[str, str]) -> str:
    candidates = {k: PREFIX + OPTIONS[attribute].name for k, attribute in by_key.items()}
    candidates.update({key_of(name): PREFIX + name for name in FOREIGN})
    near = difflib.get_close_matches(key, candidates, 1, 0.5)
    return f"{variable_name} is not known and has no effect" + (
        f"; did you mean {candidates[near[0]]}?" if near else ""
    )


def dashes(name: str) -> str:
    """IncomingRequestHTTPPort -> incoming-request-http-port"""
    name = name.replace("HTTP2", "Http2").replace("_", "-")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def flags() -> dict[str, str]:
    known = {}
    for attribute, opt in OPTIONS.items():
        known["--" + dashes(opt.name)] = attribute
        known[flag_of(attribute)] = attribute
    return known
