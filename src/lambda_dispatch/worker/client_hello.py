"""Which protocols a TLS client offers (ALPN), read from its ClientHello before OpenSSL sees it.

A server that speaks none of them must refuse with `no_application_protocol` (RFC 7301 3.2). Python's ssl cannot:
OpenSSL goes on without a protocol, and afterwards nothing says that one was offered.
"""

ALPN = 16
CLIENT_HELLO = 1
RECORD_HEAD = 5
# Alert, TLS 1.2 on the record as TLS 1.3 has it, fatal, no_application_protocol.
REFUSAL = bytes((21, 3, 3, 0, 2, 2, 120))


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, n: int) -> bytes:
        if n > len(self.data):
            raise ValueError("cut off")
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def vector(self, length_bytes: int) -> bytes:
        return self.take(int.from_bytes(self.take(length_bytes)))


def offered(record: bytes) -> list[bytes] | None:
    """The protocols, in the client's order; None where it offers none or the hello cannot be read here.

    What cannot be read, one spread over several records included, is left to OpenSSL, which then chooses or does not.
    """
    hello = _Cursor(record)
    try:
        hello.take(RECORD_HEAD)
        if hello.take(1)[0] != CLIENT_HELLO:
            return None
        hello = _Cursor(hello.vector(3))
        hello.take(2 + 32)  # version, random
        hello.vector(1)  # session
        hello.vector(2)  # suites
        hello.vector(1)  # compression
        extensions = _Cursor(hello.vector(2))
        while extensions.data:
            kind = int.from_bytes(extensions.take(2))
            body = _Cursor(extensions.vector(2))
            if kind == ALPN:
                names = _Cursor(body.vector(2))
                found = []
                while names.data:
                    found.append(names.vector(1))
                return found
    except ValueError:
        pass
    return None
