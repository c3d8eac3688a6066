"""What a WebSocket is made of (RFC 6455), as far as tests need it: the handshake's fields, and frames by hand."""

import base64
import hashlib
import struct

FIELDS = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FEATURES = (("x-lambda-dispatch-extension", "1"), ("x-lambda-dispatch-features", "upgrade"))

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept_of(key: str) -> str:
    """Sec-WebSocket-Accept for this key."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


def frame(data: bytes, kind: int = TEXT, *, mask: bytes = b"", last: bool = True) -> bytes:
    """One frame; masked, as a client's must be, when a mask of four bytes is given."""
    bit = 0x80 if mask else 0
    if len(data) < 126:
        head = struct.pack("!BB", (0x80 if last else 0) | kind, bit | len(data))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", (0x80 if last else 0) | kind, bit | 126, len(data))
    else:
        head = struct.pack("!BBQ", (0x80 if last else 0) | kind, bit | 127, len(data))
    if mask:
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return head + mask + data
