"""The OpenAPI 3.1 document of the admin API. Shapes that are classes here are written from their fields."""

import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from lambda_dispatch.admin.history import SERIES, SPANS
from lambda_dispatch.admin.stream import MAX_STREAMS
from lambda_dispatch.config import OPTIONS
from lambda_dispatch.scaler.record import SEEN
from lambda_dispatch.scaler.schedule import Floor
from lambda_dispatch.scaler.verdict import EXIT_NAMES
from lambda_dispatch.supervisor.operator import OPS
from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.view import QUANTILES, InstanceView, PoolView, ScalerView, WorkerView
from lambda_dispatch_core.board.board import COUNTERS, GAUGES, OVERRIDE_KINDS, Decision

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}
PLAIN = {str: TEXT, int: WHOLE, float: NUMBER, bool: TRUTH}


def maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """An object with these fields and no other; all but the optional ones are always there."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def schema_of(hint: Any) -> Schema:
    if hint in PLAIN:
        return PLAIN[hint]
    if get_origin(hint) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(hint) if each is not type(None))
        return maybe(schema_of(kind))
    raise TypeError(f"no schema for {hint!r}")


def fields(kind: type, without: tuple[str, ...] = ()) -> dict[str, Schema]:
    assert is_dataclass(kind) or issubclass(kind, tuple)
    return {name: schema_of(hint) for name, hint in get_type_hints(kind).items() if name not in without}


def schemas() -> dict[str, Schema]:
    quantiles = closed(dict.fromkeys(QUANTILES, maybe(NUMBER)))
    numbers = dict.fromkeys((*COUNTERS, *GAUGES), WHOLE)
    pool = fields(PoolView, ("numbers", "exits", "decisions"))
    pool["exits"] = closed(dict.fromkeys(EXIT_NAMES, WHOLE))
    pool["decisions"] = closed(dict.fromkeys(("up", "down", "held"), WHOLE))
    pool.update(dict.fromkeys(("wait_ms", "service_ms", "time_ms", "cold_start_ms"), quantiles))
    pool["verdict"] = closed({"level": {"type": "string", "enum": ["ok", "busy", "bad"]}, "text": TEXT})
    floor = closed(fields(Floor))
    pool["schedule"] = {**floor, "type": ["object", "null"]}
    override = {
        "kind": {"type": "string", "enum": list(OVERRIDE_KINDS)},
        **dict.fromkeys(("function", "says", "who", "reason"), TEXT),
        **dict.fromkeys(("first", "second", "at_ms"), WHOLE),
        "until_ms": maybe(WHOLE),
        "left": maybe(NUMBER),
    }
    decision = fields(Decision, ("held", "inputs"))
    decision.update(
        at_ms=WHOLE,
        function=TEXT,
        held=TEXT,
        policy=TEXT,
        breaker=TEXT,
        reason=TEXT,
        bounds=array(TEXT),
        inputs=closed(dict.fromkeys(SEEN, maybe(NUMBER)), SEEN),
        memory=array(maybe(NUMBER)),
    )
    if "command" in decision:
        decision["command"] = {"type": ["integer", "string", "null"]}
    life = {
        "number": maybe(WHOLE),
        "id": TEXT,
        "function": TEXT,
        "asked_ms": WHOLE,
        "opened_ms": maybe(WHOLE),
        "ended_ms": maybe(WHOLE),
        "reason": maybe(TEXT),
        "let_go": TRUTH,
        "requests": WHOLE,
        "busy_ms": WHOLE,
    }
    state = {
        "version": TEXT,
        "control": {"type": "string", "enum": ["open", "token", "off"]},
        "pid": WHOLE,
        "taken_ms": WHOLE,
        "uptime": maybe(NUMBER),
        "scaler": closed(fields(ScalerView)),
        "workers": array(closed({**fields(WorkerView, ("numbers",)), **numbers, "lag_ms": quantiles})),
        "totals": closed(numbers),
        "wait_ms": quantiles,
        "time_ms": quantiles,
        "pools": array(ref("Pool")),
        "instances": array(ref("Instance")),
        "overrides": array(ref("Override")),
    }
    setting = closed({"value": {"type": ["string", "integer", "number", "boolean", "null"]}, "source": TEXT})
    told = closed(
        {
            **dict.fromkeys(("function", "breaker"), TEXT),
            **dict.fromkeys(("desired", "starting", "open", "draining", "min_instances", "max_instances"), WHOLE),
            "overrides": array(ref("Override")),
        }
    )
    router = closed({"draining": TRUTH, "log_level": TEXT, "overrides": array(ref("Override"))})
    reloaded = {
        "reloaded": TRUTH,
        "certificate": TRUTH,
        "live": {"type": "object", "additionalProperties": setting["properties"]["value"]},
        "rolling_restart_needed": {"type": "object", "additionalProperties": TEXT},
        "restart_needed": {"type": "object", "additionalProperties": TEXT},
    }
    done = {**dict.fromkeys(("ok", "changed", "taken_up"), TRUTH), "pool": told, "router": router, **reloaded}
    return {
        "State": closed(state),
        "Pool": closed(pool),
        "Instance": closed(fields(InstanceView)),
        "Override": closed(override),
        "Instances": closed({"total": WHOLE, "instances": array(ref("Instance"))}),
        "Decision": closed(decision),
        "Decisions": closed({"next": WHOLE, "decisions": array(ref("Decision"))}),
        "History": closed(
            {
                "span": {"type": "string", "enum": list(SPANS)},
                "step": WHOLE,
                "times_ms": array(WHOLE),
                "series": closed(dict.fromkeys(SERIES, array(maybe(NUMBER))), SERIES),
            }
        ),
        "Life": closed(life),
        "Lives": closed({"next": WHOLE, "lives": array(ref("Life"))}),
        "Waits": closed(
            {"step": WHOLE, "bounds_ms": array(NUMBER), "times_ms": array(WHOLE), "counts": array(array(WHOLE))}
        ),
        "Config": closed({option.name: setting for option in OPTIONS.values()}),
        "Done": closed(done, ("pool", "router", *reloaded)),
    }


# Paths ----------------------------------------------------------------------------------------------------------------

# What a query's parameters are.
ASKED: dict[str, Schema] = {
    "pool": {**TEXT, "description": "the function's name"},
    "state": TEXT,
    "sort": {**TEXT, "description": "a field, with - for descending"},
    "since": {**WHOLE, "minimum": 0, "description": "the number after which; `next` of the last answer"},
    "limit": {**WHOLE, "minimum": 0},
    "span": {**TEXT, "enum": list(SPANS)},
    "series": {**TEXT, "description": "names, with commas"},
}
# What the body of a command may have.
GIVEN: dict[str, Schema] = {
    "min": {**WHOLE, "minimum": 0},
    "max": {**WHOLE, "minimum": 0},
    "ttl": {**NUMBER, "minimum": 1, "description": "s, after which it ends by itself"},
    "clear": TRUTH,
    "stop": TRUTH,
    "max_unavailable": {**WHOLE, "minimum": 1},
    "level": {**TEXT, "enum": [*log.LEVELS, "default"]},
    "reason": {**TEXT, "maxLength": 144},
    "who": {**TEXT, "maxLength": 24},
}
# path: (what it is, parameters, shape of the answer)
READ: dict[str, tuple[str, tuple[str, ...], str]] = {
    "/api/v1/state": ("Everything now", (), "State"),
    "/api/v1/instances": ("Instances", ("pool", "state", "sort", "limit"), "Instances"),
    "/api/v1/decisions": ("The scaler's last decisions, newest first", ("pool", "since", "limit"), "Decisions"),
    "/api/v1/history": ("Golden signals over time", ("span", "series", "limit"), "History"),
    "/api/v1/lives": ("Instances from invoke to end, newest first", ("pool", "since", "state", "limit"), "Lives"),
    "/api/v1/waits": ("Requests by how long they waited for a slot, over time", (), "Waits"),
    "/api/v1/config": ("Every option: value and source", (), "Config"),
}
COMMANDS = {
    **{f"/api/v1/pools/{{name}}/{op}": op for op in ("limits", "pause", "resume", "recycle", "breaker")},
    "/api/v1/instances/{id}/drain": "drain-instance",
    "/api/v1/router/drain": "drain",
    "/api/v1/router/undrain": "undrain",
    "/api/v1/log-level": "log-level",
    "/api/v1/reload": "reload",
}
REFUSALS = {
    400: "a parameter or the body is wrong",
    401: "no token, or a wrong one",
    403: "another origin, or a token that may only read",
    404: "there is no such pool or instance",
    409: "it cannot be done now",
    413: "the body is too long",
    415: "the body is not application/json",
    503: "too much at once, or no answer from the supervisor",
}


def text_answer(about: str, kind: str = "text/plain") -> Schema:
    return {"description": about, "content": {kind: {"schema": TEXT}}}


def refusals(*statuses: int) -> dict[str, Schema]:
    return {str(status): text_answer(REFUSALS[status]) for status in statuses}


def json_of(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _read(path: str) -> Schema:
    about, asked, shape = READ[path]
    return {
        "get": {
            "summary": about,
            "parameters": [{"name": name, "in": "query", "schema": ASKED[name]} for name in asked],
            "responses": {
                "200": {"description": about, "content": json_of(ref(shape))},
                **refusals(*((400, 401, 403) if asked else (401, 403))),
            },
        }
    }


def _command(path: str) -> Schema:
    op = COMMANDS[path]
    given = [name for name in OPS[op].needs if name in GIVEN]
    properties = {name: GIVEN[name] for name in (*given, "reason", "who")}
    found: Schema = {
        "summary": f"Command {op}; see lambda-dispatch ctl",
        "security": [{"token": []}, {}],
        "requestBody": {
            "required": OPS[op].asks_why,
            "content": json_of(
                {**closed(properties, tuple(properties)), **({"required": ["reason"]} if OPS[op].asks_why else {})}
            ),
        },
        "responses": {
            "200": {"description": "done; the new state", "content": json_of(ref("Done"))},
            **refusals(*REFUSALS),
        },
    }
    for name in ("name", "id"):
        if f"{{{name}}}" in path:
            found["parameters"] = [{"name": name, "in": "path", "required": True, "schema": TEXT}]
    return {"post": found}


def _text(about: str, kind: str, *refused: int) -> Schema:
    return {"get": {"summary": about, "responses": {"200": text_answer(about, kind), **refusals(*refused)}}}


def document(version: str) -> Schema:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lambda-dispatch admin API",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}, {"password": []}, {}],
        "paths": {
            "/": _text("The page for browsers, text for terminals", "text/plain", 401, 403),
            "/livez": _text("The admin process runs", "text/plain"),
            "/readyz": _text("The router wants clients; 503 while it does not", "text/plain", 503),
            "/metrics": _text("Metrics, as the client asks", "text/plain", 401, 403),
            "/api/v1/openapi.json": {
                "get": {
                    "summary": "This document",
                    "responses": {
                        "200": {"description": "OpenAPI 3.1", "content": json_of({"type": "object"})},
                        **refusals(401, 403),
                    },
                }
            },
            "/api/v1/stream": _text(
                f"Server-Sent Events: snapshot, then JSON merge patches; {MAX_STREAMS} at most",
                "text/event-stream",
                *(401, 403, 503),
            ),
            **{path: _read(path) for path in READ},
            **{path: _command(path) for path in COMMANDS},
        },
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }
