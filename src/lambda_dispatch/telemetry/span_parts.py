"""What spans consist of, but for ids and times: names and attributes in protobuf. Many requests have the same, so each
is written once and kept by the encoder (span_encoder.pxd).
"""

from functools import lru_cache
from hashlib import blake2b

from lambda_dispatch.error_words import ErrorWord
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch_core.board.trace_ring import Span

SERVER, CLIENT = 2, 3  # Span.kind
ERROR = 2  # Status.code
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200  # Span.flags
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"QUERY"}
VERSIONS = {10: "1.0", 11: "1.1", 20: "2"}
SCHEME_PORTS = {"http": 80, "https": 443}
WORDS = tuple(map(str, ErrorWord))


def text(key: str, value: str) -> bytes:
    """A KeyValue among a span's attributes."""
    return pb.message(9, pb.text(1, key), pb.message(2, pb.text(1, value)))


def whole(key: str, value: int) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.number(3, value)))


def truth(key: str, value: bool) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.number(2, value)))


# The wait in the queue, without its value: a double of eight bytes.
WAIT = pb.message(9, pb.text(1, "lambda_dispatch.queue.wait_ms"), pb.message(2, pb.double(4, 0)))[:-8]


def shown(raw: bytes) -> str:
    """Bytes of a client as text."""
    return raw.decode("utf-8", "replace")


def word_of(number: int) -> str:
    return WORDS[number - 1] if 0 < number <= len(WORDS) else "other" if number else ""


@lru_cache(8192)
def invoke_ids(instance: bytes) -> tuple[bytes, bytes]:
    """(trace, span) of the invoke that an instance came from."""
    digest = blake2b(instance, digest_size=24, person=b"lambda-dispatch").digest()
    return digest[:16], digest[16:]


def host_and_port(host: bytes, scheme: str) -> bytes:
    """server.address and server.port, from Host."""
    name, colon, port = host.rpartition(b":")
    if not colon or not (port.isdigit() and len(port) < 6):
        name, port = host, b""
    if not name:
        return b""
    number = int(port) if port else SCHEME_PORTS[scheme]
    return text("server.address", shown(name.strip(b"[]"))) + whole("server.port", number)


def path_of(target: bytes) -> bytes:
    return text("url.path", shown(target))


def common(method: bytes, status: int, host: bytes, tls: bool) -> bytes:
    """Name and attributes of both spans."""
    known = method in METHODS
    found = pb.text(5, shown(method) if known else "HTTP")
    found += text("http.request.method", shown(method) if known else "_OTHER")
    if method and not known:
        found += text("http.request.method_original", shown(method))
    if status:
        found += whole("http.response.status_code", status)
    return found + host_and_port(host, "https" if tls else "http")


def of_server(function: str, decision: str, status: int, number: int, version: int, tls: bool, flags: int) -> bytes:
    word = word_of(number)
    found = pb.number(6, SERVER) + text("url.scheme", "https" if tls else "http")
    found += text("network.protocol.version", VERSIONS.get(version, "?"))
    for key, value in (("function", function), ("decision", decision), ("fault", word)):
        if value:
            found += text(f"lambda_dispatch.{key}", value)
    if status >= 500:
        found += text("error.type", word or str(status)) + pb.message(15, pb.number(3, ERROR))
    return found + pb.fixed32(16, flags)


def of_client(
    function: str, region: str, cold: bool, instance: bytes, status: int, number: int, resent: bool, flags: int
) -> bytes:
    word = word_of(number)
    found = pb.number(6, CLIENT) + faas(function, region) + truth("faas.coldstart", cold)
    if any(instance):
        trace, invoke = invoke_ids(instance)
        found += text("lambda_dispatch.instance.id", instance[:4].hex())
        found += pb.message(13, pb.message(1, trace), pb.message(2, invoke), pb.fixed32(6, 1))
    if resent:
        found += whole("http.request.resend_count", 1)
    if word or status >= 400:
        found += text("error.type", word or str(status)) + pb.message(15, pb.number(3, ERROR))
    return found + pb.fixed32(16, flags)


def faas(function: str, region: str) -> bytes:
    found = text("faas.invoked_name", function) + text("faas.invoked_provider", "aws")
    return found + (text("faas.invoked_region", region) if region else b"")


def of_invoke(span: Span, function: str, region: str, offset: int) -> bytes:
    """The span of the invoke that a request's instance came from, whole."""
    trace, invoke = invoke_ids(span.instance)
    return pb.message(
        2,
        pb.message(1, trace),
        pb.message(2, invoke),
        pb.text(5, f"invoke {function}"),
        pb.number(6, CLIENT),
        pb.fixed64(7, span.invoked + offset),
        pb.fixed64(8, span.opened + offset),
        faas(function, region),
        truth("faas.coldstart", True),
        text("lambda_dispatch.instance.id", span.instance[:4].hex()),
        pb.fixed32(16, 1 | HAS_IS_REMOTE),
    )
