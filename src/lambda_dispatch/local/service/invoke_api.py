"""The Lambda service as callers see it: Invoke, the few look-ups that go with it, and the local control endpoints."""

import asyncio
import base64
import binascii
import re
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from lambda_dispatch.local.function import LATEST, Function, function_arn, parse_function_name
from lambda_dispatch.local.invocation import LOG_TAIL, Invocation
from lambda_dispatch.local.knobs import KnobError
from lambda_dispatch.local.service import event_stream, service_error
from lambda_dispatch.local.service.event_queue import EventQueue
from lambda_dispatch.local.service.fleet import Fleet, Pool
from lambda_dispatch.local.service.service_error import EVENT_PAYLOAD_LIMIT, INVOKE_PAYLOAD_LIMIT, ServiceError
from lambda_dispatch.local.service.tenants import tenant_of
from lambda_dispatch_net.http_server import BodyStream, Request, Response, parse_query

FUNCTIONS = "/2015-03-31/functions"
STREAMED = re.compile(r"/2021-11-15/functions/([^/]+)/response-streaming-invocations")
INVOKE = re.compile(rf"{FUNCTIONS}/([^/]+)/invocations")
ONE = re.compile(rf"{FUNCTIONS}/([^/]+)(/configuration)?")
MAX_CLIENT_CONTEXT = 3583  # bytes of base64, Lambda's own limit

JSON_HEADERS = [("content-type", "application/json")]


class InvokeApi:
    def __init__(self, fleet: Fleet, events: EventQueue, write_log: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._events = events
        self._write_log = write_log

    async def answer(self, request: Request) -> Response:
        request_id = str(uuid.uuid4())
        try:
            if request.path.startswith("/_local/"):
                return self._control(request)
            return await self._service(request, request_id)
        except ServiceError as error:
            return error.response(request_id)

    async def _service(self, request: Request, request_id: str) -> Response:
        # Matched on the path as sent: an ARN arrives with its colons (and slashes there are none) encoded or not.
        match = INVOKE.fullmatch(request.raw_path)
        if match is not None:
            if request.method != "POST":
                raise ServiceError(405, "MethodNotAllowedException", f"{request.method} is not for invocations")
            return await self._invoke(request, request_id, match.group(1))
        match = STREAMED.fullmatch(request.raw_path)
        if match is not None and request.method == "POST":
            return await self._invoke_with_stream(request, request_id, match.group(1))
        if request.method == "GET":
            if request.raw_path.rstrip("/") == FUNCTIONS:
                functions = [pool.function for pool in self._fleet.pools.values()]
                configurations = [self._configuration(each, LATEST, each.arn) for each in functions]
                return self._json({"Functions": configurations, "NextMarker": None}, request_id)
            match = ONE.fullmatch(request.raw_path)
            if match is not None:
                pool, version, arn = self._find(match.group(1), parse_query(request.query).get("Qualifier"))
                configuration = self._configuration(pool.function, version, arn)
                if match.group(2):
                    return self._json(configuration, request_id)
                found: dict[str, Any] = {
                    "Configuration": configuration,
                    "Code": {"RepositoryType": "local"},
                    "Tags": {},
                }
                if pool.function.concurrency is not None:
                    found["Concurrency"] = {"ReservedConcurrentExecutions": pool.function.concurrency}
                return self._json(found, request_id)
        raise ServiceError(
            404, "UnknownOperationException", f"the embedded Lambda does not know {request.method} {request.raw_path}"
        )

    # invoke

    async def _invoke(self, request: Request, request_id: str, name: str) -> Response:
        pool, version, arn = self._find(name, parse_query(request.query).get("Qualifier"))
        kind = request.header("x-amz-invocation-type") or "RequestResponse"
        if kind not in ("RequestResponse", "Event", "DryRun"):
            raise service_error.validation("invocationType", kind, "[RequestResponse, Event, DryRun]")
        limit = EVENT_PAYLOAD_LIMIT if kind == "Event" else INVOKE_PAYLOAD_LIMIT
        if request.too_large or len(request.body) > limit:
            raise service_error.request_too_large(limit)
        payload = request.body or b"{}"
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise service_error.invalid_content(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
        context, tenant = self._client_context(request), tenant_of(request, pool.function)

        def make() -> Invocation:
            return Invocation(
                payload,
                arn,
                request_id=request_id,
                version=version,
                trace_id=request.header("x-amzn-trace-id"),
                client_context=context,
                cognito_identity=request.header("x-amz-cognito-identity"),
                tenant=tenant,
            )

        headers = [("x-amzn-requestid", request_id), ("x-amz-executed-version", version)]
        if kind == "DryRun":
            return Response(204, b"", headers)
        if kind == "Event":
            self._events.put(pool, make)
            return Response(202, b"", headers[:1])
        invocation = make()
        self._fleet.invoke(pool, invocation)
        answer = await asyncio.shield(invocation.answer)  # goes on when the caller does not wait for it
        headers += [*JSON_HEADERS, ("x-amzn-trace-id", invocation.trace_id)]
        if answer.error is not None:
            headers.append(("x-amz-function-error", answer.error))
        if request.header("x-amz-log-type") == "Tail":
            await asyncio.shield(invocation.finished)
            headers.append(("x-amz-log-result", base64.b64encode(invocation.log[-LOG_TAIL:]).decode()))
        return Response(200, answer.payload, headers)

    async def _invoke_with_stream(self, request: Request, request_id: str, name: str) -> Response:
        """InvokeWithResponseStream: the response as messages of an event stream, while it comes."""
        pool, version, arn = self._find(name, parse_query(request.query).get("Qualifier"))
        if request.too_large or len(request.body) > INVOKE_PAYLOAD_LIMIT:
            raise service_error.request_too_large(INVOKE_PAYLOAD_LIMIT)
        payload = request.body or b"{}"
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise service_error.invalid_content(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
        invocation = Invocation(
            payload,
            arn,
            request_id=request_id,
            version=version,
            trace_id=request.header("x-amzn-trace-id"),
            client_context=self._client_context(request),
            tenant=tenant_of(request, pool.function),
        )
        invocation.take_stream()
        self._fleet.invoke(pool, invocation)
        first = await invocation.first()
        wants_log = request.header("x-amz-log-type") == "Tail"

        async def messages() -> AsyncIterator[bytes]:
            if isinstance(first, BodyStream):
                try:
                    async for piece in first:
                        for one in event_stream.chunks(piece):
                            yield one
                finally:
                    first.drop()
            elif first.error is None:
                for one in event_stream.chunks(first.payload):
                    yield one
            answer = await asyncio.shield(invocation.answer)
            log = None
            if wants_log:
                await asyncio.shield(invocation.finished)
                log = base64.b64encode(invocation.log[-LOG_TAIL:]).decode()
            yield event_stream.complete(answer, log)

        headers = [("x-amzn-requestid", request_id), ("x-amz-executed-version", version)]
        headers.append(("content-type", event_stream.TYPE))
        return Response(200, b"", headers, stream=messages(), chunked=True)

    def _client_context(self, request: Request) -> str | None:
        given = request.header("x-amz-client-context")
        if given is None:
            return None
        try:
            text = base64.b64decode(given, validate=True)
            orjson.loads(text)
            if len(given) > MAX_CLIENT_CONTEXT:
                raise ValueError
            return text.decode().replace("\r", " ").replace("\n", " ")
        except (binascii.Error, ValueError):
            raise service_error.invalid_content(
                f"X-Amz-Client-Context must be base64 of JSON, at most {MAX_CLIENT_CONTEXT} bytes"
            ) from None

    def _find(self, given: str, qualifier: str | None) -> tuple[Pool, str, str]:
        """The pool, the version that runs, and the ARN as invoked."""
        name, qualifier = parse_function_name(given, qualifier)
        pool = self._fleet.pools.get(name)
        if pool is None:
            raise service_error.not_found(function_arn(name, qualifier))
        version = pool.function.version(qualifier)
        if version is None:
            raise service_error.not_found(function_arn(name, qualifier, pool.function.region))
        return pool, version, function_arn(name, qualifier, pool.function.region)

    # look-ups

    def _configuration(self, function: Function, version: str, arn: str) -> dict[str, Any]:
        return {
            "FunctionName": function.name,
            "FunctionArn": arn,
            "Role": "arn:aws:iam::000000000000:role/local",
            "Handler": function.handler,
            "PackageType": "Image",
            "Timeout": int(max(1, function.timeout)),
            "MemorySize": function.memory,
            "Version": version,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Architectures": ["x86_64"],
            "Environment": {"Variables": dict(function.environment)},
            **({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}} if function.tenant_isolation else {}),
        }

    def _json(self, value: object, request_id: str) -> Response:
        return Response(200, orjson.dumps(value), [*JSON_HEADERS, ("x-amzn-requestid", request_id)])

    # control

    def _control(self, request: Request) -> Response:
        parts = [part for part in request.path.split("/") if part][1:]
        match request.method, parts:
            case "GET", ["health"]:
                return _plain(200, "OK")
            case "GET", ["status"]:
                return _control_json(
                    {
                        "knobs": self._fleet.knobs.as_dict(),
                        "functions": self._fleet.statistics(),
                        "environments": [environment.describe() for environment in self._fleet.environments()],
                    }
                )
            case (("PATCH" | "POST"), ["knobs"]):
                return self._turn(request.body)
            case (("PATCH" | "POST"), ["functions", name]):
                return self._change_function(name, request.body)
            case "POST", ["environments", prefix, ("kill" | "freeze" | "thaw" | "stop") as what]:
                return self._act(prefix, what)
        return _plain(404, f"no such control endpoint: {request.method} {request.path}")

    def _turn(self, body: bytes) -> Response:
        knobs = self._fleet.knobs
        try:
            given = _object(body)
            for name, value in given.items():
                knobs.set(name, value)
        except (KnobError, ValueError) as error:
            return _plain(400, str(error))
        return _control_json(knobs.as_dict())

    def _change_function(self, name: str, body: bytes) -> Response:
        pool = self._fleet.pools.get(name)
        if pool is None:
            return _plain(404, f"no function {name!r}; there are: {', '.join(self._fleet.pools)}")
        function = pool.function
        try:
            for key, value in _object(body).items():
                if key == "concurrency" and (value is None or (type(value) is int and value >= 0)):
                    function.concurrency = value
                elif key == "timeout" and isinstance(value, int | float) and 0 < value <= 900:
                    function.timeout = float(value)
                elif key == "init_timeout" and isinstance(value, int | float) and 0 < value <= 900:
                    function.init_timeout = float(value)
                else:
                    raise ValueError(
                        f"{key} {value!r}: concurrency (0 or more, null), timeout and init_timeout (to 900 s)"
                    )
        except ValueError as error:
            return _plain(400, str(error))
        return _control_json(
            {"timeout": function.timeout, "init_timeout": function.init_timeout, "concurrency": function.concurrency}
        )

    def _act(self, prefix: str, what: str) -> Response:
        found = self._fleet.find(prefix)
        if len(found) != 1:
            return _plain(404 if not found else 400, f"{len(found)} environments begin with {prefix!r}")
        environment = found[0]
        if what == "kill":
            environment.kill()
        elif what == "freeze":
            environment.freeze(by_hand=True)
        elif what == "thaw":
            environment.thaw(by_hand=True)
        else:
            environment.stop()
        return _control_json(environment.describe())


def _object(body: bytes) -> dict[str, Any]:
    value = orjson.loads(body or b"{}")
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value


def _plain(status: int, text: str) -> Response:
    return Response(status, text.encode() + b"\n", [("content-type", "text/plain")])


def _control_json(value: object) -> Response:
    return Response(200, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n", list(JSON_HEADERS))
