"""Compression of buffered answers to direct events: gzip, and brotli where the package is there.

A streamed answer is never compressed. The rules are those of AWS's Lambda Web Adapter, with `no-transform` respected.
"""

LEAST = 32  # bytes
NOT_WORTH = (b"image/", b"application/grpc", b"text/event-stream")
GZIP_LEVEL, BROTLI_QUALITY = 6, 4
Fields = list[tuple[bytes, bytes]]


class Squeeze:
    """A compressor and the fields of the answer that has gone through it."""

    def __init__(self, encoding: str, fields: Fields) -> None:
        self.fields = squeezed_fields(encoding, fields)
        if encoding == "br":
            import brotli

            compressor = brotli.Compressor(quality=BROTLI_QUALITY)
            self.add, self.end = compressor.process, compressor.finish
        else:
            import zlib

            gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            self.add, self.end = gzip.compress, gzip.flush


def squeeze_for(accepts: str, is_head: bool, status: int, fields: Fields) -> Squeeze | None:
    """A compressor, if this answer is worth one and this client takes it."""
    if is_head or not compressible(status, fields):
        return None
    encoding = preferred(accepts)
    return Squeeze(encoding, fields) if encoding else None


def compressible(status: int, fields: Fields) -> bool:
    if status in (204, 206, 304):
        return False
    for name, value in fields:
        text = value.lower()
        if name in (b"content-encoding", b"content-range"):
            return False
        if name == b"content-type" and text.startswith(NOT_WORTH) and not text.startswith(b"image/svg+xml"):
            return False
        if name == b"content-length" and text.isdigit() and len(text) < 3 and int(text) < LEAST:
            return False
        if name == b"cache-control" and b"no-transform" in text:
            return False
    return True


def preferred(accepts: str) -> str:
    """br, gzip or nothing: what the client weighs most, and of equals br."""
    weights: dict[str, float] = {}
    for item in accepts.lower().split(","):
        name, _, parameters = item.partition(";")
        name = {"x-gzip": "gzip"}.get(name.strip(), name.strip())
        weights[name] = weight(parameters)
    best = max((weights.get(name, weights.get("*", 0.0)), name == "br", name) for name in encodings())
    return best[2] if best[0] > 0 and best[0] >= weights.get("identity", 0.0) else ""


def weight(parameters: str) -> float:
    """A quality value (RFC 9110 section 12.4.2); 0 when it is none."""
    text = parameters.strip()
    if not text:
        return 1.0
    number = text.removeprefix("q=")
    plain = number.replace(".", "", 1)
    if number == text or not (plain.isascii() and plain.isdigit()) or len(number) > 5 or number[0] not in "01":
        return 0.0
    return min(float(number), 1.0)


_encodings: tuple[str, ...] = ()


def encodings() -> tuple[str, ...]:
    global _encodings
    if not _encodings:
        try:
            import brotli  # noqa: F401

            _encodings = ("br", "gzip")
        except ImportError:
            _encodings = ("gzip",)
    return _encodings


def squeezed_fields(encoding: str, fields: Fields) -> Fields:
    found: Fields = []
    varies = False
    for name, value in fields:
        if name == b"content-length":
            continue
        if name == b"etag" and value.startswith(b'"'):
            value = b"W/" + value  # other bytes, same meaning (RFC 9110 section 8.8.1)
        if name == b"vary":
            varies = varies or b"accept-encoding" in value.lower() or b"*" in value
        found.append((name, value))
    if not varies:
        found.append((b"vary", b"accept-encoding"))
    return [*found, (b"content-encoding", encoding.encode())]
