"""An application whose backlog is full when a request comes: Linux drops the SYN and repeats it after a second."""

import socket
from concurrent.futures import ThreadPoolExecutor

from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.collect import request
from lambda_dispatch_extension.loop import Loop, ensure_future, sleep
from lambda_dispatch_extension.options import Options
from lambda_dispatch_net.wire import Hub

SYN_SENT = "02"


def dialling(port: int) -> int:
    """How many connects to the port have got no answer yet."""
    with open("/proc/net/tcp") as table:
        next(table)
        rows = [line.split() for line in table]
    return sum(int(row[2].partition(":")[2], 16) == port and row[3] == SYN_SENT for row in rows)


def serve_one(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        with client:
            if client.recv(4096):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                return


def test_a_request_outlasts_a_full_backlog() -> None:
    loop = Loop()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ThreadPoolExecutor(1) as application:
        port = server.getsockname()[1]
        crowd: list[socket.socket] = []
        while not dialling(port):
            crowd.append(socket.socket())
            crowd[-1].setblocking(False)
            crowd[-1].connect_ex(("127.0.0.1", port))

        async def work() -> tuple[int, dict[str, str], bytes]:
            hub = Hub(loop)
            pool = AppPool(hub, "127.0.0.1", port, connect_timeout=Options().app_connect, idle_timeout=1.0)
            answer = ensure_future(request(pool, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"))
            while dialling(port) != 2:
                await sleep(0.005)
            for one in crowd:
                one.close()
            application.submit(serve_one, server)
            try:
                return await answer
            finally:
                pool.close_idle()
                while hub.wires:  # the connection is closed in a later turn of the loop
                    await sleep(0.001)

        try:
            status, _, body = loop.run_until_complete(work())
        finally:
            server.shutdown(socket.SHUT_RD)  # also ends an accept() that waits
            loop.close()
    assert (status, body) == (200, b"hello")
