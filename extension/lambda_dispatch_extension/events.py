"""A direct event as a request of HTTP/1.1: head and body.

What the event says is not trusted more than what comes in by the router's front door: the head is read by the same
strict parser before it goes to the application.
"""

import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lambda_dispatch_extension import kinds
from lambda_dispatch_extension.direct_relay import head_fault
from lambda_dispatch_extension.lambda_api import Next
from lambda_dispatch_extension.log import say_limited
from lambda_dispatch_extension.options import Options

Fields = list[tuple[str, str]]

CONTEXT, LAMBDA_CONTEXT, TENANT = "x-amzn-request-context", "x-amzn-lambda-context", "x-amz-tenant-id"
TRACE = "x-amzn-trace-id"
# Never taken from an event: framing and hop-by-hop fields, because the body that we send has a length of its own; what
# only Lambda may say; and the ids of the dispatched way.
DROPPED = frozenset(
    f"""connection keep-alive proxy-connection transfer-encoding upgrade te trailer http2-settings proxy-authenticate
    proxy-authorization content-length expect x-pool-id x-lambda-id x-channel-id {CONTEXT} {LAMBDA_CONTEXT}
    {TENANT}""".split()
)
WITH_BODY = ("POST", "PUT", "PATCH")  # these say content-length: 0 too (RFC 9110 section 8.6)
REPEATABLE = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE")  # RFC 9110 section 9.2.2

# The path percent-encode set of the URL standard, and what RFC 9112 leaves out of a request target.
PLAIN_PATH = re.compile(r"[!$%&'()*+,\-./0-9:;=@A-Z\[\]_a-z|~^]*\Z")
PLAIN_QUERY = re.compile(r"[!$%&'()*+,\-./0-9:;=?@A-Z\[\]\\^_`a-z{|}~]*\Z")
PLAIN_WORD = re.compile(r"[*\-.0-9A-Z_a-z]*\Z")
IN_PATH, IN_QUERY, IN_WORD = (
    [chr(byte) if byte < 128 and plain.match(chr(byte)) else f"%{byte:02X}" for byte in range(256)]
    for plain in (PLAIN_PATH, PLAIN_QUERY, PLAIN_WORD)
)
IN_WORD[0x20] = "+"  # application/x-www-form-urlencoded
ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
DOT = re.compile(r"(?:\.|%2[Ee])\Z")
DOT_DOT = re.compile(r"(?:\.|%2[Ee]){2}\Z")


class BadEvent(Exception):
    """The event's request cannot be passed on; the status is the one that the router's front door would answer."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Request(NamedTuple):
    message: bytes  # as it goes to the application
    is_head: bool
    repeatable: bool
    accept_encoding: str


def request(kind: str, event: Any, invocation: Next, options: Options, config: str) -> Request:
    """config: env_config() of this environment."""
    if kind == kinds.PASS_THROUGH:
        method, target, context = "POST", path_of(options.pass_through_path), None
        fields: Fields = [("content-type", "application/json")]
        body = invocation.body
    else:
        context = event["requestContext"]
        method = context["http"]["method"] if kind == kinds.V2 else event["httpMethod"]
        path = text(event, "rawPath" if kind == kinds.V2 else "path")
        query = text(event, "rawQueryString") if kind == kinds.V2 else query_of(event, raw=kind == kinds.ALB)
        target = target_of(without_base(path, options.base_path), query)
        fields = v2_fields(event) if kind == kinds.V2 else multi_fields(event)
        body = body_of(event)
    fields = kept(fields)
    add_ours(fields, context, invocation, config)
    if options.authorization_source:
        fields = authorize(fields, options.authorization_source)
    if not any(name.lower() == "host" for name, _ in fields):
        fields.insert(0, ("host", authority(options)))
    if body or method in WITH_BODY:
        fields.append(("content-length", str(len(body))))
    accepts = ",".join(value for name, value in fields if name.lower() == "accept-encoding")
    return Request(head_of(method, target, fields) + body, method == "HEAD", method in REPEATABLE, accepts)


def head_of(method: str, target: str, fields: Fields) -> bytes:
    """The head's bytes, or BadEvent where the front door would refuse them."""
    lines = "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""])
    ends = len(fields) + 2
    if lines.count("\r") != ends or lines.count("\n") != ends or "\0" in lines:
        raise BadEvent(f"{culprit(method, target, fields)} has a line end or a NUL in it")
    for name, _ in fields:
        if ":" in name:  # it would be read as another header, one of those that are dropped perhaps
            raise BadEvent(f"header {name!r} has a colon in its name")
    try:
        head = lines.encode()
    except UnicodeEncodeError:
        raise BadEvent(f"{culprit(method, target, fields)} is not Unicode") from None
    fault = head_fault(head)
    if fault is not None:
        raise BadEvent(f"the request's head could not be read: {fault[1]}", fault[0])
    return head


def culprit(method: str, target: str, fields: Fields) -> str:
    """What of a head cannot stand in it, for people."""
    for what, part in (("the method", method), ("the path", target)):
        if unfit(part):
            return what
    return next((f"header {name!r}" for name, value in fields if unfit(name) or unfit(value)), "the head")


def unfit(part: str) -> bool:
    return any(c in "\r\n\0" or "\ud800" <= c <= "\udfff" for c in part)


# Target ---------------------------------------------------------------------------------------------------------------


def target_of(path: str, query: str) -> str:
    for what, part in (("path", path), ("query", query)):
        if unfit(part):
            raise BadEvent(f"the {what} has a line end or a NUL in it, or is not Unicode")
    if not query:
        return path_of(path)
    return f"{path_of(path)}?{query if PLAIN_QUERY.match(query) else encoded(query.encode(), IN_QUERY)}"


def path_of(path: str) -> str:
    """A path as the URL standard writes it: percent-encoded where it must be, without dot segments."""
    path = path.replace("\\", "/")
    if not PLAIN_PATH.match(path):
        path = encoded(path.encode(), IN_PATH)
    if not path.startswith("/"):
        path = f"/{path}"
    return undotted(path) if "." in path or "%2" in path else path


def undotted(path: str) -> str:
    kept: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        if DOT_DOT.match(segment):
            del kept[-1:]
        elif not DOT.match(segment):
            kept.append(segment)
    if DOT.match(segments[-1]) or DOT_DOT.match(segments[-1]):
        kept.append("")  # what a dot segment at the end leaves is a folder
    return "/" + "/".join(kept)


def encoded(data: bytes, table: list[str]) -> str:
    return "".join([table[byte] for byte in data])


def without_base(path: str, base: str) -> str:
    """The path without its base: whole segments, once."""
    if base and path.startswith(base) and (len(path) == len(base) or path[len(base)] == "/"):
        return path[len(base) :]
    return path


def query_of(event: Mapping[str, Any], *, raw: bool) -> str:
    """API Gateway has decoded what it gives, a load balancer has not."""
    several = mapping(event, "multiValueQueryStringParameters")
    pairs = [(name, value) for name, values in several.items() for value in listed(values)]
    if not pairs:
        pairs = [(name, value) for name, value in mapping(event, "queryStringParameters").items() if value is not None]
    return "&".join([f"{word(name, raw)}={word(value, raw)}" for name, value in pairs])


def word(value: Any, raw: bool) -> str:
    if not isinstance(value, str):
        raise BadEvent(f"query parameter {value!r:.80} is not a string")
    if PLAIN_WORD.match(value):
        return value
    data = value.encode("utf-8", "surrogatepass")
    if raw:
        data = ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), data.replace(b"+", b" "))
    return encoded(data, IN_WORD)


# Fields ---------------------------------------------------------------------------------------------------------------


def v2_fields(event: Mapping[str, Any]) -> Fields:
    cookies = listed(event.get("cookies"))
    fields = [(name, value) for name, value in mapping(event, "headers").items() if value is not None]
    if cookies:
        fields = [(name, value) for name, value in fields if name.lower() != "cookie"]
        fields.append(("cookie", ";".join(strings("cookies", cookies))))
    return fields


def multi_fields(event: Mapping[str, Any]) -> Fields:
    """multiValueHeaders, and of headers what is not in there."""
    several = mapping(event, "multiValueHeaders")
    fields = [(name, value) for name, values in several.items() for value in listed(values)]
    known = {name.lower() for name in several}
    fields += [
        (name, value)
        for name, value in mapping(event, "headers").items()
        if value is not None and name.lower() not in known
    ]
    return fields


def kept(fields: Fields) -> Fields:
    """Without what is dropped, and what a Connection field names (RFC 9110 section 7.6.1)."""
    dropped = DROPPED
    for name, value in fields:
        if not isinstance(value, str):
            raise BadEvent(f"header {name!r} is not a string")
        if name.lower() == "connection":
            dropped = dropped | {option.strip().lower() for option in value.split(",")}
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def add_ours(fields: Fields, context: object, invocation: Next, config: str) -> None:
    """What the application may know of the invoke; no client can set it, kept() removes it."""
    fields.append((CONTEXT, compact(context)))
    tenant = invocation.fields.get("lambda-runtime-aws-tenant-id", "")
    fields.append((LAMBDA_CONTEXT, lambda_context(invocation, config, tenant)))
    if tenant:
        fields.append((TENANT, tenant))
    trace = invocation.fields.get("lambda-runtime-trace-id")
    if trace:
        fields[:] = [(name, value) for name, value in fields if name.lower() != TRACE]
        fields.append((TRACE, trace))


def lambda_context(invocation: Next, config: str, tenant: str) -> str:
    """As JSON."""
    fields = invocation.fields
    deadline = fields.get("lambda-runtime-deadline-ms", "")
    given = {
        "request_id": invocation.request_id,
        "deadline": int(deadline) if deadline.isascii() and deadline.isdigit() and len(deadline) <= 15 else 0,
        "invoked_function_arn": fields.get("lambda-runtime-invoked-function-arn", ""),
        "xray_trace_id": fields.get("lambda-runtime-trace-id"),
        "client_context": json_or_none(fields.get("lambda-runtime-client-context")),
        "identity": json_or_none(fields.get("lambda-runtime-cognito-identity")),
    }
    last = f',"tenant_id":{compact(tenant)}' if tenant else ""
    return f'{compact(given)[:-1]},"env_config":{config}{last}}}'


def env_config(environ: Mapping[str, str]) -> str:
    """The part of the Lambda context that an environment keeps, as JSON."""
    memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return compact(
        {
            "function_name": environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            "memory": int(memory) if memory.isascii() and memory.isdigit() and len(memory) <= 9 else 0,
            "version": environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            "log_stream": environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
            "log_group": environ.get("AWS_LAMBDA_LOG_GROUP_NAME", ""),
        }
    )


def authorize(fields: Fields, source: str) -> Fields:
    """The field named `source` becomes `authorization`."""
    given = [value for name, value in fields if name.lower() == source]
    if not given:
        say_limited("authorization source missing", header=source)
        return fields
    fields = [(name, value) for name, value in fields if name.lower() not in (source, "authorization")]
    return [*fields, ("authorization", given[0])]


def authority(options: Options) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{host}:{options.port}"


# Parts of an event ----------------------------------------------------------------------------------------------------


def body_of(event: Mapping[str, Any]) -> bytes:
    body = text(event, "body")
    if event.get("isBase64Encoded") is not True:
        try:
            return body.encode()
        except UnicodeEncodeError:
            raise BadEvent("the body is not Unicode") from None
    try:
        return binascii.a2b_base64(body, strict_mode=True)
    except ValueError as error:
        raise BadEvent(f"the body is not base64: {error}") from None


def text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadEvent(f"{name} is not a string")
    return value


def mapping(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadEvent(f"{name} is not an object")
    return value


def listed(values: object) -> list[Any]:
    if values is None:
        return []
    return values if isinstance(values, list) else [values]


def strings(name: str, values: list[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise BadEvent(f"{name} are not all strings")
    return values


# JSON in ASCII: it stands in a header field. One encoder, because json.dumps() makes one for each call.
compact = json.JSONEncoder(separators=(",", ":")).encode


def json_or_none(given: str | None) -> object:
    try:
        return json.loads(given) if given else None
    except ValueError:
        return None
