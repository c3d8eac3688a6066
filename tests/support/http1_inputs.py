"""Requests that are right, nearly right, or wrong in the ways people try, for property tests and the fuzzer; and what
our parser makes of a whole connection's bytes."""

from dataclasses import dataclass
from random import Random

from lambda_dispatch_testing.http1_face import ChunkedBody, HeadRefused, read_request

LINE_ENDS = [b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n ", b""]
SPACES = [b" "] * 30 + [b"  ", b"\t", b"", b"\x0b", b" \t"]
METHODS = [b"GET"] * 6 + [b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"get", b"G@T", b"FOO", b""]
TARGETS = [b"/"] * 6 + [b"/a?b=c", b"//a", b"/%25+[]{}", b"/\xe9", b"*", b"http://a/", b"http://b/", b"HTTPS://a:443?x"]
TARGETS += [b"a:80", b"/a#b", b"", b"/\x7f", b"ftp://a/", b"/" + b"a" * 40]
VERSIONS = [b"HTTP/1.1"] * 20 + [b"HTTP/1.0"] * 4
VERSIONS += [b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1", b"HTTP/11", b"RTSP/1.1"]
HOSTS = [b"Host: a"] * 12 + [b"host:a:80", b"Host: [::1]", b"Host:", b"Host: a b", b"Host : a", b"Host: a,b", b"X: y"]
FIELDS = [b"X: y"] * 4 + [b"Accept: */*", b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked"]
FIELDS += [b"content-length: 5", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 0x5"]
FIELDS += [
    b"Content-Length:5\t",
    b"Content-Length : 5",
    b"Content-Length: 5_0",
    b"Content_Length: 7",
    b"Content-Length: 6",
]
FIELDS += [b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity", b"transfer-encoding:\tCHUNKED "]
FIELDS += [b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked;a", b"Transfer-Encoding: xchunked"]
FIELDS += [b"Connection: close", b"Connection: keep-alive", b"Connection: a b", b"Connection: Host", b"Connection: ,x,"]
FIELDS += [b"Expect: 100-continue", b"Expect: else", b"Host: a", b"Upgrade: h2c", b"Connection: upgrade", b"X: \xff\t."]
FIELDS += [b"X:", b"X", b": y", b" folded", b"X: a\0b", b"X: a\rb", b"X\t: y", b"X: \x7f", b"Long: " + b"v" * 70, b""]
BODIES = [b""] * 4 + [b"hello", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n"]
BODIES += [
    b"5\nhello\n0\n\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\r\n",
]
BODIES += [
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n",
    b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
    b"5\r\nhello\r\n0\r\n",
]
BODIES += [
    b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
]
BODIES += [
    b"2\r\nhe\r\n3\r\nllo\r\n000\r\nA: b\r\nC: d\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\n b\r\n\r\n",
    b"0\r\nA: \0\r\n\r\n",
]
BYTES = b'\0\t\n\r "%,/:;=A[\\_a\x7f\x80\xff05'


def a_request(random: Random) -> bytes:
    """One request with its body, each part more often right than wrong."""

    def end() -> bytes:
        return random.choice(LINE_ENDS)

    parts = [random.choice(METHODS), random.choice(SPACES), random.choice(TARGETS), random.choice(SPACES)]
    parts += [random.choice(VERSIONS), end(), random.choice(HOSTS), end()]
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        parts += [random.choice(FIELDS), end()]
    return b"".join([*parts, end(), random.choice(BODIES)])


def a_connection(random: Random) -> bytes:
    """Some requests after one another, with a byte changed, added or lost now and then."""
    data = bytearray(b"".join(a_request(random) for _ in range(random.choice([1, 1, 2, 3]))))
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        at = random.randrange(len(data) + 1)
        data[at : at + random.choice([0, 1, 1])] = random.choice([b"", bytes([random.choice(BYTES)])])
    return bytes(data)


@dataclass
class Request:
    method: bytes
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]
    keep_alive: bool
    body: bytes
    complete: bool


def read_requests(data: bytes) -> tuple[list[Request], str | None]:
    """What our parser finds on a connection: the requests it accepts, and the reason for which it gives up, or None.
    What follows a request that ends the connection or hands it over is not looked at."""
    requests: list[Request] = []
    while True:
        try:
            parsed = read_request(data)
        except HeadRefused as refused:
            return requests, refused.reason
        if parsed is None:
            return requests, None
        used, head, fields = parsed
        request = Request(head["method"], head["target"], f"1.{head['minor']}", fields, head["keep_alive"], b"", True)
        requests.append(request)
        if head["method"] == b"CONNECT":
            return requests, None
        data = data[used:]
        if head["chunked"]:
            chunks = ChunkedBody()
            request.body, used = chunks.feed(data)
            request.complete = chunks.done
            if chunks.bad:
                return requests, "bad-chunk"
            data = data[used:]
        elif head["content_length"] > 0:
            request.body = data[: head["content_length"]]
            request.complete = len(request.body) == head["content_length"]
            data = data[head["content_length"] :]
        if not request.complete or not head["keep_alive"] or head["upgrade"]:
            return requests, None
