"""The OpenAPI document against the running server: every path, and every answer by its schema."""

import json
import math
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lambda_dispatch.admin.commands import command_at
from lambda_dispatch.admin.server import Admin
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.scaler.record import SEEN
from lambda_dispatch_core.board.board import Board, Decision
from tests.process.test_admin import TOKEN, Answer, ask
from tests.support.supervised import Router, until

KEYED = {"authorization": f"Bearer {TOKEN}"}


def strict(body: bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(body, parse_constant=refuse)


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router(workers=1, real=True, admin_port=0, admin_token=TOKEN) as router:
        board = router.board(write=True)
        now = time.monotonic_ns()
        for count in range(3):
            taken = board.allocate_instance(0, uuid.uuid4().bytes, 10, now, now + 10**12)
            assert taken is not None
            board.open_instance(*taken, now)
            if count:
                board.close_instance(*taken, now)
                board.record_life(taken[0], now, count - 1, False)
                board.free_instance(*taken)
        own = ("number", "at", "pool", "held", "inputs", "who", "why", "command")
        numbers = dict.fromkeys((name for name in Decision._fields if name not in own), 1)
        inputs = (math.nan, *(1.0 for _ in SEEN[1:]), math.nan)
        board.record_decision(now, 0, **numbers, held="back-off", inputs=inputs)
        board.close()
        port = router.ports["admin"]
        until(
            lambda: strict(ask(port, "/api/v1/instances", **KEYED).body)["instances"], "the admin process's next look"
        )
        yield router


@pytest.fixture(scope="module")
def document(router: Router) -> dict[str, Any]:
    answer = ask(router.ports["admin"], "/api/v1/openapi.json", **KEYED)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = strict(answer.body)
    return found


def check(document: dict[str, Any], operation: dict[str, Any], answer: Answer) -> None:
    """The answer is one that the document has, and what it says of it."""
    assert str(answer.status) in operation["responses"], (answer.status, answer.text)
    content = operation["responses"][str(answer.status)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in content
    if kind == "application/json":
        schema = {**content[kind]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(strict(answer.body))


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"])


def test_the_document_has_the_servers_paths_and_no_others(document: dict[str, Any]) -> None:
    board = Board.create(2)
    try:
        served = set(Admin(board, RouterConfig(function_name="app")).routes) | {"/livez", "/readyz"}
    finally:
        board.close()
    reads = {path for path, item in document["paths"].items() if "get" in item}
    assert reads == served
    for path, item in document["paths"].items():
        assert (command_at(path) is not None) == ("post" in item), path
    assert sum("post" in item for item in document["paths"].values()) == 10


def test_every_answer_to_a_reader_is_what_the_document_says(router: Router, document: dict[str, Any]) -> None:
    port = router.ports["admin"]
    for path, item in document["paths"].items():
        if "get" not in item:
            continue
        method = "HEAD" if path == "/api/v1/stream" else "GET"
        check(document, item["get"], ask(port, path, method, **KEYED))
        without = ask(port, path, method)
        check(document, item["get"], without)
        assert without.status == (200 if path in ("/livez", "/readyz") else 401)
        parameters = {each["name"] for each in item["get"].get("parameters", [])}
        for name in parameters:
            value = {"span": "24h", "series": "queued", "state": "ended", "sort": "-age"}.get(name, "1")
            check(document, item["get"], ask(port, f"{path}?{name}={value}", **KEYED))
        if path.startswith("/api/") and parameters:
            refused = ask(port, f"{path}?unknown=1", **KEYED)
            assert refused.status == 400
            check(document, item["get"], refused)
    full = strict(ask(port, "/api/v1/state", **KEYED).body)
    assert full["pools"] and full["workers"] and full["instances"], "nothing was checked on empty lists"
    assert len(strict(ask(port, "/api/v1/lives", **KEYED).body)["lives"]) == 3
    (decision,) = strict(ask(port, "/api/v1/decisions", **KEYED).body)["decisions"]
    assert decision["inputs"][SEEN[0]] is None and decision["memory"] == [None]


BODIES = {
    "limits": {"min": 1, "max": 7, "ttl": 600},
    "pause": {"ttl": 600},
    "recycle": {"max_unavailable": 2},
    "drain": {"ttl": 600},
    "log-level": {"level": "debug"},
}


def test_every_command_is_taken_and_answered_as_the_document_says(router: Router, document: dict[str, Any]) -> None:
    port = router.ports["admin"]
    id = strict(ask(port, "/api/v1/instances", **KEYED).body)["instances"][0]["id"]
    for path, item in document["paths"].items():
        if "post" not in item:
            continue
        operation = item["post"]
        real = path.replace("{name}", "fake").replace("{id}", id)
        body = {"reason": "a test", "who": "me", **BODIES.get(path.rpartition("/")[2], {})}
        if "instances" in path:
            body = {"reason": "a test"}
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator(schema).validate(body)

        def post(given: Any, real: str = real, **more: str) -> Answer:
            fields = {"content_type": "application/json", **more}
            return ask(port, real, "POST", json.dumps(given).encode(), **fields)

        done = post(body, **KEYED)
        assert done.status == 200, (real, done.text)
        check(document, operation, done)
        for refused in (post(body), post({**body, "unknown": 1}, **KEYED), post([], **KEYED)):
            assert refused.status in (400, 401)
            check(document, operation, refused)
        assert not Draft202012Validator(schema).is_valid({**body, "unknown": 1})
        if "{name}" in path:
            missing = post(body, path.replace("{name}", "nobody"), **KEYED)
            assert missing.status == 404
            check(document, operation, missing)
