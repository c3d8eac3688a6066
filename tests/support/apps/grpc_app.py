"""A gRPC server of grpcio for tests: bytes in, bytes out, no generated code.

Prints its port, and then what only the server knows: `heard`, `waiting` or `cancelled METHOD`, `deadline SECONDS`.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc


def say(*words: object) -> None:
    print(*words, flush=True)


class Watch:
    """Says `cancelled` when the call is over before its handler is."""

    def __init__(self, context: grpc.ServicerContext, name: str) -> None:
        self.name = name
        self.finished = False
        self.over = threading.Event()
        context.add_callback(self.end)

    def end(self) -> None:
        if not self.finished:
            say("cancelled", self.name)
        say("ended", self.name)
        self.over.set()

    def wait(self) -> None:
        say("waiting", self.name)
        self.over.wait()


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    sent = dict(context.invocation_metadata())
    if "x-echo" in sent:
        context.send_initial_metadata((("x-echo", sent["x-echo"]),))
    if "x-trail-bin" in sent:
        context.set_trailing_metadata((("x-trail-bin", sent["x-trail-bin"]),))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: 100 % \u00fc")
    if request == b"deadline":
        say("deadline", round(context.time_remaining() or 0))
    if request == b"wait":
        Watch(context, "unary").wait()
    if request == b"crash":
        os._exit(3)
    return request


def server_stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    count, size = (int(word) for word in request.split())
    for number in range(count):
        yield bytes([number % 256]) * size
    if size == 0:
        Watch(context, "server_stream").wait()


def client_stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    watch = Watch(context, "client_stream")
    total = 0
    for request in requests:
        total += len(request)
        if request == b"one":
            say("heard client_stream")
        if request == b"enough":
            break
    watch.finished = True
    return b"%d" % total


def bidi(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    watch = Watch(context, "bidi")
    for request in requests:
        yield request
        if request == b"one":
            say("heard bidi")
    watch.finished = True


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
}


def main() -> None:
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(32), options=unlimited)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Test", METHODS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say(port)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
