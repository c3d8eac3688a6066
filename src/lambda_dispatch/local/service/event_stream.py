"""Messages of `application/vnd.amazon.eventstream`, in which InvokeWithResponseStream answers."""

import struct
import zlib

import orjson

from lambda_dispatch.local.invocation import Answer

TYPE = "application/vnd.amazon.eventstream"
STRING = 7  # type of a header's value
MOST = 128 * 1024  # bytes of a payload in one message


def message(event: str, content_type: str, payload: bytes) -> bytes:
    headers = b"".join(
        struct.pack(f"!B{len(name)}sBH", len(name), name, STRING, len(value)) + value
        for name, value in (
            (b":event-type", event.encode()),
            (b":content-type", content_type.encode()),
            (b":message-type", b"event"),
        )
    )
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
    return body + struct.pack("!I", zlib.crc32(body))


def chunks(data: bytes) -> list[bytes]:
    pieces = (data[at : at + MOST] for at in range(0, len(data), MOST))
    return [message("PayloadChunk", "application/octet-stream", piece) for piece in pieces]


def complete(answer: Answer, log: str | None) -> bytes:
    """The last message: how the invoke ended, and its log where that was asked for."""
    said: dict[str, str] = {}
    if answer.error is not None:
        said["ErrorCode"] = answer.error
        said["ErrorDetails"] = answer.payload.decode("utf-8", "replace")
    if log is not None:
        said["LogResult"] = log
    return message("InvokeComplete", "application/json", orjson.dumps(said))
