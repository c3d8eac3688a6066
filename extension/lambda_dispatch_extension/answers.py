"""The application's answer as a direct event's result: buffered JSON, or the prelude of a streamed one."""

import binascii
import json
from typing import Any

from lambda_dispatch_extension import kinds
from lambda_dispatch_extension.direct_relay import chunk, reason_of

Fields = list[tuple[bytes, bytes]]  # names in lower case

# Framing and hop-by-hop fields (RFC 9110 section 7.6.1) end at the extension.
DROPPED = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding upgrade te trailer http2-settings".split()
)
TEXT_STARTS = ("text/", "application/json", "application/javascript", "application/xml", "application/yaml")
TEXT_ENDS = ("+xml", "+json", "+yaml")
STREAMED_TYPE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = bytes(8)
# One encoder, because json.dumps() makes one for each call.
compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def passed_on(fields: Fields) -> Fields:
    """What of an answer's fields is for the client."""
    named = [option.strip().lower() for name, value in fields if name == b"connection" for option in value.split(b",")]
    return [pair for pair in fields if pair[0] not in DROPPED and pair[0] not in named]


def buffered(kind: str, status: int, fields: Fields, body: bytes) -> bytes:
    """The invoke's result."""
    if kind == kinds.PASS_THROUGH:
        return value_of(fields, body)
    plain = body_text(fields, body)
    result: dict[str, Any] = {"statusCode": status}
    if kind == kinds.V1:
        # API Gateway adds headers to multiValueHeaders: what stands in both would come twice.
        result["headers"] = {}
        result["multiValueHeaders"] = grouped(fields)
    elif kind == kinds.ALB:
        # A target group reads one of the two, depending on a setting of its own.
        several = grouped(fields)
        result["statusDescription"] = f"{status} {reason_of(status)}".rstrip()
        result["headers"] = {name: values[0] if name == "set-cookie" else ", ".join(values)
                             for name, values in several.items()}  # fmt: skip
        result["multiValueHeaders"] = several
    else:
        result["headers"], cookies = joined(fields)
        result["multiValueHeaders"] = {}
        result["cookies"] = cookies
    result["isBase64Encoded"] = plain is None
    if plain is not None:
        result["body"] = plain
        return compact(result).encode()
    # Nothing in base64 is escaped in JSON: a large body does not pass through the encoder.
    return b"".join((compact(result)[:-1].encode(), b',"body":"', binascii.b2a_base64(body, newline=False), b'"}'))


def value_of(fields: Fields, body: bytes) -> bytes:
    """The result of an event that is not about HTTP: the application's JSON as it is, or null."""
    if body_text(fields, body) is None:
        return b"null"
    try:
        json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return b"null"
    return body


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def body_text(fields: Fields, body: bytes) -> str | None:
    """The body where it can travel as text, None where it has to be base64."""
    kind = encoding = None
    for name, value in fields:
        if name == b"content-encoding":
            return None
        if name == b"content-type":
            kind = value.decode("latin-1").strip().lower()
        elif name == b"x-lambda-http-content-encoding":
            encoding = value
    if kind is not None and encoding != b"text":
        essence = kind.partition(";")[0].rstrip()
        if not essence.startswith(TEXT_STARTS) and not essence.endswith(TEXT_ENDS):
            return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None  # another charset: its bytes must arrive as they are


def prelude(status: int, fields: Fields) -> bytes:
    """The two chunks before the body of a streamed answer: the head as JSON, and 8 NUL bytes."""
    headers, cookies = joined(fields)
    headers.setdefault("content-type", "application/octet-stream")
    head = {"statusCode": status, "headers": headers, "cookies": cookies}
    return chunk(compact(head).encode()) + chunk(PRELUDE_END)


def stream_head(host: str, path: str) -> bytes:
    """The head of the POST that carries a streamed answer."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nTransfer-Encoding: chunked\r\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
        "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
        f"Content-Type: {STREAMED_TYPE}\r\n\r\n"
    ).encode("latin-1")


def grouped(fields: Fields) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(text_of(name), []).append(text_of(value))
    return found


def joined(fields: Fields) -> tuple[dict[str, str], list[str]]:
    """One value for each name (RFC 9110 section 5.3), and the cookies, which cannot be joined."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for field, content in fields:
        name, value = text_of(field), text_of(content)
        if name == "set-cookie":
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, cookies


def text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
