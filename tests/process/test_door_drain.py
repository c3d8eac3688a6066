"""Idle connections of a door that drains, with the loop standing still in between."""

import asyncio
import os
import socket

import uvloop

from lambda_dispatch import config as configuration
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.front.door import Door
from lambda_dispatch.front.h1 import H1Wire
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Hub
from tests.support.loop import soon, until

REQUEST = b"GET /health HTTP/1.1\r\nHost: example.test\r\n\r\n"


async def answer(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while not got.endswith(b"well"):
        piece = await soon(loop.sock_recv(client, 4096), "the answer")
        assert piece, "it was ended instead"
        got += piece
    return got


async def scenario(board: Board) -> None:
    loop = asyncio.get_running_loop()
    config = configuration.load(
        {}, ["--function-name", "f", "--allow-insecure-control", "--preferred-control-scheme", "http"]
    )
    hub = Hub(loop)
    matcher = Matcher(board, 10, 10.0, lambda: None, lambda worker: None)
    door = Door(hub, matcher, board, config, [])
    door.on_health = lambda target: (200, b"well")
    server = await loop.create_server(lambda: H1Wire(door, b"http"), "127.0.0.1", 0)  # type: ignore[arg-type,return-value]
    try:
        with socket.socket() as asks, socket.socket() as idle:
            for client in (asks, idle):
                client.setblocking(False)
                await loop.sock_connect(client, server.sockets[0].getsockname())
                await loop.sock_sendall(client, REQUEST)
                assert b"connection: close" not in await answer(client)
            door.begin_drain()
            asks.send(REQUEST)
            door.close_idle()
            assert b"connection: close" in await answer(asks)
            assert await soon(loop.sock_recv(idle, 1), "the end of the idle connection") == b""
    finally:
        server.close()
        door.cut_all()
        await until(lambda: not door.wires, "the connections are gone")


def test_a_request_that_has_come_but_was_not_read_yet_is_answered_when_idle_connections_are_closed() -> None:
    made = Board.create(1)
    board = Board.attach(os.dup(made.fd), worker=0)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(scenario(board))
    finally:
        board.close()
        made.close()
