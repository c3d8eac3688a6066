"""Runtime API (2018-06-01) and Extensions API (2020-01-01) of one environment, on an address of its own."""

import base64
import re
import uuid
from typing import TYPE_CHECKING, Any

import orjson

from lambda_dispatch.local.environment.environment import ApiError, Extension
from lambda_dispatch.local.function import ACCOUNT, LATEST
from lambda_dispatch.local.invocation import Answer, failure
from lambda_dispatch.local.service.service_error import INVOKE_PAYLOAD_LIMIT
from lambda_dispatch_net.http_server import BodyStream, HttpServer, Request, Response

if TYPE_CHECKING:
    from lambda_dispatch.local.environment.environment import Environment

RUNTIME = "/2018-06-01/runtime/"
EXTENSION = "/2020-01-01/extension/"
INVOCATION = re.compile(r"invocation/([^/]+)/(response|error)")
RESPONSE_SLACK = 100  # bytes over 6 MB a response may have; the number in Lambda's own message says so
RESPONSE_LIMIT = INVOKE_PAYLOAD_LIMIT + RESPONSE_SLACK
ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"
RESPONSE_MODE = "lambda-runtime-function-response-mode"
ACCEPTED = b'{"status":"OK"}'

JSON_HEADERS = [("content-type", "application/json")]


def _json(status: int, body: bytes) -> Response:
    return Response(status, body, list(JSON_HEADERS))


def _refusal(error: ApiError) -> Response:
    return _json(error.status, orjson.dumps({"errorMessage": error.message, "errorType": error.kind}))


class RuntimeApi:
    """Turns requests of the environment's processes into calls of the Environment."""

    def __init__(self, environment: "Environment") -> None:
        self._environment = environment
        self._server = HttpServer(self._answer, max_body=RESPONSE_LIMIT, streams=self._streams)
        self._streamed: dict[str, BodyStream] = {}  # by request id, while they come

    async def start(self) -> str:
        port = await self._server.start("127.0.0.1", 0)
        return f"127.0.0.1:{port}"

    async def close(self) -> None:
        await self._server.close()

    async def _answer(self, request: Request) -> Response:
        path = request.path
        try:
            if path.startswith(RUNTIME):
                return await self._runtime(request, path[len(RUNTIME) :])
            if path.startswith(EXTENSION):
                return await self._extension(request, path[len(EXTENSION) :])
            if path in ("/2022-07-01/telemetry", "/2020-08-15/logs") and request.method == "PUT":
                what = "Telemetry" if "telemetry" in path else "Logs"
                kind = f"{what}.NotSupported"
                return _json(202, orjson.dumps({"errorMessage": f"{what} API is not supported", "errorType": kind}))
            return _refusal(ApiError(404, "NotFound", f"no such path: {request.method} {path}"))
        except ApiError as error:
            return _refusal(error)

    # runtime

    def _streams(self, request: Request) -> BodyStream | None:
        """A streamed response goes to its caller as it comes."""
        if request.method != "POST" or request.header(RESPONSE_MODE) != "streaming":
            return None
        match = INVOCATION.fullmatch(request.path[len(RUNTIME) :]) if request.path.startswith(RUNTIME) else None
        if match is None or match.group(2) != "response":
            return None
        stream = self._environment.runtime_stream(match.group(1))
        if stream is not None:
            self._streamed[match.group(1)] = stream
        return stream

    async def _runtime(self, request: Request, path: str) -> Response:
        if path == "invocation/next" and request.method == "GET":
            return await self._next()
        if path == "init/error" and request.method == "POST":
            kind = request.header(ERROR_TYPE) or "Runtime.Unknown"
            self._environment.runtime_init_error(kind, Answer(request.body or b"{}", "Unhandled"))
            return _json(202, ACCEPTED)
        match = INVOCATION.fullmatch(path)
        if match is not None and request.method == "POST":
            request_id, what = match.groups()
            return self._response(request, request_id) if what == "response" else self._error(request, request_id)
        raise ApiError(404, "NotFound", f"no such path: {request.method} {RUNTIME}{path}")

    async def _next(self) -> Response:
        invocation = await self._environment.runtime_next()
        headers = [
            ("content-type", "application/json"),
            ("lambda-runtime-aws-request-id", invocation.request_id),
            ("lambda-runtime-deadline-ms", str(invocation.deadline_ms)),
            ("lambda-runtime-invoked-function-arn", invocation.arn),
            ("lambda-runtime-trace-id", invocation.trace_id),
        ]
        if invocation.client_context is not None:
            headers.append(("lambda-runtime-client-context", invocation.client_context))
        if invocation.cognito_identity is not None:
            headers.append(("lambda-runtime-cognito-identity", invocation.cognito_identity))
        if invocation.tenant is not None:
            headers.append(("lambda-runtime-aws-tenant-id", invocation.tenant))
        return Response(200, invocation.payload, headers)

    def _response(self, request: Request, request_id: str) -> Response:
        failed = request.header(ERROR_TYPE)  # a streamed response says in a trailer that it broke off
        stream = self._streamed.pop(request_id, None)
        if stream is not None:
            said = base64.b64decode(request.header(ERROR_BODY) or "") if failed else b""
            self._environment.runtime_respond(request_id, Answer(said, failed))
            stream.end(failed=bool(failed))
            return _json(202, ACCEPTED)
        if request.too_large:
            message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes)."
            self._environment.runtime_respond(request_id, failure("Function.ResponseSizeTooLarge", message, request_id))
            raise ApiError(413, "RequestEntityTooLarge", message)
        self._environment.runtime_respond(request_id, Answer(request.body, "Unhandled" if failed else None))
        return _json(202, ACCEPTED)

    def _error(self, request: Request, request_id: str) -> Response:
        body = request.body
        if request.too_large or not body:
            kind = request.header(ERROR_TYPE) or "Runtime.Unknown"
            body = orjson.dumps({"errorType": kind, "errorMessage": ""})
        self._environment.runtime_respond(request_id, Answer(body, "Unhandled"))
        return _json(202, ACCEPTED)

    # extensions

    async def _extension(self, request: Request, path: str) -> Response:
        if path == "register" and request.method == "POST":
            return self._register(request)
        if path == "event/next" and request.method == "GET":
            event = await self._environment.extension_next(self._known(request))
            headers = [*JSON_HEADERS, ("lambda-extension-event-identifier", str(uuid.uuid4()))]
            return Response(200, orjson.dumps(event), headers)
        if path in ("init/error", "exit/error") and request.method == "POST":
            kind = request.header("lambda-extension-function-error-type")
            if not kind:
                raise ApiError(400, "MissingHeader", "Lambda-Extension-Function-Error-Type is missing")
            self._environment.extension_failed(self._known(request), kind, during_init=path == "init/error")
            return _json(202, ACCEPTED)
        raise ApiError(404, "NotFound", f"no such path: {request.method} {EXTENSION}{path}")

    def _register(self, request: Request) -> Response:
        name = request.header("lambda-extension-name")
        if not name:
            raise ApiError(403, "Extension.InvalidExtensionName", "Lambda-Extension-Name is missing")
        try:
            asked: Any = orjson.loads(request.body)
            events = asked.get("events") or []
            if not isinstance(events, list) or asked.get("configurationKeys"):
                raise ValueError
        except (AttributeError, ValueError):
            example = 'the body must be JSON such as {"events": ["INVOKE"]}, without configurationKeys'
            raise ApiError(403, "InvalidRequestFormat", example) from None
        extension = self._environment.extension_register(name, frozenset(map(str, events)))
        function = self._environment.function
        said = {"functionName": function.name, "functionVersion": LATEST, "handler": function.handler}
        if request.header("lambda-extension-accept-feature") == "accountId":
            said["accountId"] = ACCOUNT
        headers = [*JSON_HEADERS, ("lambda-extension-identifier", extension.id)]
        return Response(200, orjson.dumps(said), headers)

    def _known(self, request: Request) -> Extension:
        given = request.header("lambda-extension-identifier")
        if not given:
            raise ApiError(403, "Extension.MissingExtensionIdentifier", "Lambda-Extension-Identifier is missing")
        extension = self._environment.extensions.get(given)
        if extension is not None:
            return extension
        try:
            uuid.UUID(given)
        except ValueError:
            raise ApiError(403, "Extension.InvalidExtensionIdentifier", f"{given!r} is not a UUID") from None
        raise ApiError(403, "Extension.UnknownExtensionIdentifier", f"no extension has the identifier {given}")
