"""Upgraded connections through what we ship: worker, extension and application, and over the hop between workers."""

import os

from tests.process.test_worker_upgrade import accepts, echo
from tests.support.across import fleet
from tests.support.clients import RawClient
from tests.support.extension_rig import rig
from tests.support.instance_peer import ANNOUNCED
from tests.support.loop import run, soon, until
from tests.support.shipped import join
from tests.support.websocket import FEATURES, FIELDS
from tests.support.worker_process import WorkerProcess

REQUEST = f"GET /upgrade/echo HTTP/1.1\r\nHost: example.test\r\n{FIELDS}\r\n".encode()


async def echoes(client: RawClient, data: bytes) -> None:
    await client.send(data)
    assert await soon(client.reader.readexactly(len(data)), "the echo") == data


def test_a_client_speaks_with_the_application_through_router_and_extension() -> None:
    async def scenario() -> None:
        async with WorkerProcess.running() as worker, rig() as r:
            join(worker, r, 20)
            clients = [await worker.client() for _ in range(10)]
            for client in clients:
                await client.send(REQUEST)
                answer = await soon(client.head(), "the answer")
                assert (answer.status, answer.field("x-test")) == (101, "1")
            for client in clients:
                await echoes(client, b"hello")
                await echoes(client, os.urandom(300_000))
            assert worker.running_now() == 10
            for client in clients[:5]:
                client.writer.write_eof()
                assert await soon(client.reader.read(), "the rest") == b"bye"
                await client.close()
            for client in clients[5:]:
                client.reset()
            await worker.quiet()
            assert r.app is not None
            files = r.app.files
            await until(lambda: files() <= 10, f"the application's sockets close: {files()}")

    run(scenario(), 30)


def test_a_slot_is_borrowed_from_a_sibling_for_as_long_as_the_connection_lives() -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(accepts(echo), 8, more_fields=FEATURES)
            for worker in range(2):
                client = await it.client(worker)
                await client.send(REQUEST)
                assert (await soon(client.head(), "the answer")).status == 101
                await echoes(client, b"hello")
                await echoes(client, bytes(300_000))
                client.writer.write_eof()
                assert await soon(client.reader.read(), "the end") == b""
                await client.close()
            gone = await it.client(1 - it.home)
            await gone.send(REQUEST)
            assert (await soon(gone.head(), "the answer")).status == 101
            gone.reset()
            assert it.hops() >= 2
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)


def test_a_sibling_whose_instances_cannot_serves_it_as_a_plain_request() -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(accepts(echo), 2, more_fields=ANNOUNCED)
            async with await it.client(1 - it.home) as client:
                for _ in range(2):
                    await client.send(REQUEST)
                    answer = await soon(client.response(), "the answer")
                    assert (answer.status, answer.body) == (426, b"only by upgrade")
            assert it.hops() >= 2
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)
