"""A gRPC server that uses every way HTTP/2 has to refuse or to end a call, or to mix several.

The method's name says what becomes of a call. Prints its port, `connection` for each, and each call's method.
"""

import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import hyperframe.frame

HEAD = [(":status", "200"), ("content-type", "application/grpc")]

seen: dict[str, int] = {}


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.conn = h2.connection.H2Connection(config)
        self.methods: dict[int, str] = {}
        self.together: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        print("connection", flush=True)
        self.conn.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.conn.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.begun(event.stream_id, dict(event.headers)[":path"].rpartition("/")[2])
            elif isinstance(event, h2.events.DataReceived):
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data:
                    self.said(event.stream_id, event.data)
        if not self.transport.is_closing():
            self.flush()

    def begun(self, stream: int, method: str) -> None:
        print(method, flush=True)
        seen[method] = seen.get(method, 0) + 1
        self.methods[stream] = method
        first = seen[method] == 1
        if method == "Refuse" or (method == "RefuseOnce" and first):
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        elif method == "LeaveOnce" and first:
            # It goes, and has not looked at this call.
            self.go_away(stream - 2 if stream > 1 else 0)
            self.transport.close()
        elif method == "Reset":
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)

    def said(self, stream: int, message: bytes) -> None:
        method = self.methods[stream]
        if method in ("Refuse", "Reset") or (method in ("RefuseOnce", "LeaveOnce") and seen[method] == 1):
            return
        if method == "Together":
            self.together[stream] = message
            if len(self.together) == 3:
                self.answer_together()
            return
        measured = [("content-length", str(len(message)))] if method == "Measured" else []
        self.conn.send_headers(stream, [*HEAD, *measured])
        self.conn.send_data(stream, message)
        if method == "ResetWithin":
            self.conn.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            return
        if method == "Leave":
            # It takes no more calls here; this one it ends.
            self.go_away(stream)
        self.conn.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def answer_together(self) -> None:
        """The answers of all calls in one piece: their heads, then their messages, then their ends. The last call is
        reset behind its head."""
        for stream, message in self.together.items():
            self.conn.send_headers(stream, [*HEAD, ("x-message", message[5:].decode())])
        self.conn.reset_stream(self.together.popitem()[0], h2.errors.ErrorCodes.CANCEL)
        for stream, message in reversed(self.together.items()):
            self.conn.send_data(stream, message)
        for stream in self.together:
            self.conn.send_headers(stream, [("grpc-status", "0")], end_stream=True)
        self.together.clear()

    def go_away(self, last_stream: int) -> None:
        """Past h2, which would send nothing after it."""
        self.flush()
        self.transport.write(hyperframe.frame.GoAwayFrame(0, last_stream, 0).serialize())


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
