"""One HTTP/1.1 response while it arrives, on httptools: bounded, without I/O.

    reader = ResponseReader(most_head=65536, most_body=65536)
    while not reader.done:
        reader.feed(data) ... or reader.end() when the connection has closed

For small clients of our own, blocking or not; the request path has its own parser in lambda_dispatch_core.http1.
"""

import httptools

Headers = list[tuple[str, str]]  # names in lower case


class BadResponse(ValueError):
    """The peer's bytes are not an HTTP/1.1 response, or it is over a limit."""


class ResponseReader:
    """`bodyless`: the answer to HEAD, or to CONNECT. `cut_body` drops what is over `most_body` instead of failing."""

    __slots__ = (
        "_bodyless",
        "_cut_body",
        "_head",
        "_most_body",
        "_most_head",
        "_parser",
        "body",
        "done",
        "framed",
        "headers",
        "keep_alive",
        "status",
    )

    def __init__(self, *, most_head: int, most_body: int, bodyless: bool = False, cut_body: bool = False) -> None:
        self.status = 0  # of the final response; 0 until its head is complete
        self.headers: Headers = []
        self.body = bytearray()
        self.done = False
        self.keep_alive = False
        self.framed = False  # its end can be told from the end of the connection
        self._head = 0
        self._most_head = most_head
        self._most_body = most_body
        self._bodyless = bodyless
        self._cut_body = cut_body
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        if self.done:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            if not self.done:
                raise BadResponse(f"not an HTTP/1.1 response: {error}") from None

    def end(self) -> bool:
        """The connection has ended: whether the response is whole."""
        self.done = self.done or (self.status != 0 and not self.framed)
        return self.done

    # httptools calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > self._most_head:
            raise BadResponse(f"the response's head is over {self._most_head} bytes")
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self.framed = any(name in ("content-length", "transfer-encoding") for name, _ in self.headers)
        self.keep_alive = self._parser.should_keep_alive()
        self.done = self._bodyless

    def on_body(self, body: bytes) -> None:
        room = self._most_body - len(self.body)
        if len(body) > room and not self._cut_body:
            raise BadResponse(f"the response's body is over {self._most_body} bytes")
        if not self.done:
            self.body += body[:room]

    def on_message_complete(self) -> None:
        if self.status:
            self.done = True
        else:  # an interim response; the real one follows
            self.headers = []
            self._head = 0
