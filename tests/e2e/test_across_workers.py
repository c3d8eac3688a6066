"""Many workers, one mind: every instance lives in one worker, as the original extension's one connection makes it, and
requests come to all of them. Real worker processes; the test is the scaler and the instances."""

import asyncio
import hashlib
import json
import os
import random
import signal
from contextlib import AsyncExitStack

import pytest

from tests.process.test_worker_upgrade import accepts
from tests.process.test_worker_upgrade import echo as socket_echo
from tests.support.across import Fleet, ask, fleet
from tests.support.clients import H2Client, RawClient
from tests.support.instance_peer import ANNOUNCED, Call, Gone, Handler
from tests.support.loop import run, soon, until
from tests.support.websocket import FEATURES, FIELDS

WORKERS = pytest.mark.parametrize("workers", [2, 4])


async def echo(call: Call) -> None:
    await call.respond(200, body=await call.body())


@WORKERS
def test_requests_to_any_worker_are_served_while_an_instance_anywhere_has_a_slot(workers: int) -> None:
    async def scenario() -> None:
        async with fleet(workers) as it:
            await it.instance(limit=4)
            answers = await asyncio.gather(*(ask(it.port) for _ in range(60)))
            assert {status for status, _ in answers} == {200}
            assert it.hops() > 0
            assert it.board.worker_numbers(it.home)["served_siblings"] > 0
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)


def test_the_access_log_names_the_instance_that_a_sibling_gave_the_request_to() -> None:
    async def scenario() -> None:
        async with fleet(2, access_log="json") as it:
            peers = [await it.instance(limit=1) for _ in range(2)]
            async with await it.client(1 - it.home) as client:
                for _ in range(2):
                    assert (await client.get("/")).status == 200
            await until(lambda: it.router.log().count('"target":"/"') == 2, "both lines")
            assert it.hops() == 2
            lines = [json.loads(line) for line in it.router.log().splitlines() if line.startswith("{")]
            assert {line["instance"] for line in lines} <= {peer.id.replace("-", "")[:8] for peer in peers}

    run(scenario(), 30)


@WORKERS
@pytest.mark.parametrize("seed", [1, 2])
def test_an_instance_never_has_more_in_hand_than_its_limit(workers: int, seed: int) -> None:
    source = random.Random(seed)

    async def works(call: Call) -> None:
        await call.body()
        await asyncio.sleep(source.random() / 100)
        await call.respond(200, body=b"done")

    async def scenario() -> None:
        async with fleet(workers) as it:
            limits = [source.randint(1, 4) for _ in range(3)]
            peers = [await it.instance(works, limit) for limit in limits]
            for _ in range(4):
                answers = await asyncio.gather(*(ask(it.port) for _ in range(source.randint(10, 60))))
                assert {status for status, _ in answers} == {200}
            for peer, limit in zip(peers, limits, strict=True):
                assert 0 < peer.most_in_flight <= limit
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)


@WORKERS
def test_a_sibling_is_asked_for_no_more_than_it_has_free(workers: int) -> None:
    free = asyncio.Semaphore(0)
    reached = asyncio.Semaphore(0)

    async def waits(call: Call) -> None:
        await call.body()
        reached.release()
        await free.acquire()
        await call.respond(200)

    async def scenario() -> None:
        async with fleet(workers) as it:
            await it.instance(waits, limit=2)
            tasks = [asyncio.create_task(ask(it.port)) for _ in range(60)]
            await until(lambda: it.board.pool_totals(0).arrivals == 60, "the requests to be read")
            for _ in range(2):
                await soon(reached.acquire(), "a request to take a slot")
            for _ in range(58):
                free.release()
                await soon(reached.acquire(), "a request to take the slot that became free")
            for _ in range(2):
                free.release()
            assert {status for status, _ in await asyncio.gather(*tasks)} == {200}
            await until(it.idle, "the reservations to return")
            # A refusal is a slot that two saw free at the same moment. Asked for by all that wait it would be hundreds.
            assert 0 <= it.hops() - it.sum("served_siblings") <= 6

    run(scenario(), 60)


def test_bodies_of_all_sizes_come_through_the_hop_whole() -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(echo, limit=4)
            for size in (0, 1, 1000, 16_384, 65_535, 65_536, 262_145, 1_000_000, 9_000_000):
                body = random.Random(size).randbytes(size)
                digest = hashlib.sha256(body).digest()
                before, tries = it.hops(), 0
                while it.hops() == before:
                    status, answer = await soon(ask(it.port, "/echo", body), f"an echo of {size} bytes", 20)
                    assert status == 200
                    assert hashlib.sha256(answer).digest() == digest, (size, len(answer))
                    tries += 1
                    assert tries < 50, "no request went through a sibling"
            await until(it.idle, "the reservations to return")

    run(scenario(), 35)


async def through_the_hop(it: Fleet, began: asyncio.Event) -> RawClient:
    """A client whose request is served through a sibling and goes on until told otherwise."""
    while True:
        before = it.hops()
        began.clear()
        client = await RawClient.dial(it.port)
        await client.send(b"GET /long HTTP/1.1\r\nHost: h\r\n\r\n")
        await soon(began.wait(), "the request to arrive")
        if it.hops() > before:
            return client
        await client.close()


def never_ending(began: asyncio.Event, ended: list[int | None]) -> Handler:
    async def handler(call: Call) -> None:
        began.set()
        try:
            ended.append(await call.gone())
        except Gone as gone:
            ended.append(gone.code)

    return handler


def test_a_client_that_leaves_ends_its_request_at_the_instance_through_the_hop() -> None:
    began, ended = asyncio.Event(), list[int | None]()

    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(never_ending(began, ended), limit=8)
            client = await through_the_hop(it, began)
            client.abort()
            await client.close()
            await until(it.idle, "the reservation to return")
            await until(lambda: bool(ended), "the instance to be told")

    run(scenario(), 30)


def test_an_instance_that_dies_ends_its_request_through_the_hop_with_502() -> None:
    began = asyncio.Event()

    async def scenario() -> None:
        async with fleet(2) as it:
            peer = await it.instance(never_ending(began, []), limit=8)
            client = await through_the_hop(it, began)
            peer.drop()
            assert (await soon(client.response(), "the answer")).status == 502
            await client.close()
            await until(it.idle, "the reservation to return")

    run(scenario(), 30)


def test_a_sibling_that_is_killed_costs_the_guest_it_served_and_nobody_else() -> None:
    began = asyncio.Event()

    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(never_ending(began, []), limit=8)
            client = await through_the_hop(it, began)
            os.kill(it.router.pids()[it.home], signal.SIGKILL)
            answer = await soon(client.response(), "the answer")
            assert (answer.status, answer.error) == (502, "sibling_lost")
            await until(it.idle, "the dead worker's reservation to return")
            # The same connection goes on: its worker is alive, and what is new there gets a new instance.
            it.home = -1
            await it.instance(limit=2)
            again = await soon(client.get("/after"), "an answer after the death")
            assert again.status == 200
            await client.close()

    run(scenario(), 30)


def test_trailers_cross_to_the_worker_that_has_the_client() -> None:
    async def answers(call: Call) -> None:
        await call.write(call.head_text(200) + await call.body())
        call.trailers([("grpc-status", "0")])

    async def scenario() -> None:
        async with fleet(2) as it, AsyncExitStack() as stack:
            speaks = (*ANNOUNCED, ("x-lambda-dispatch-features", "grpc"))
            await it.instance(answers, limit=4, more_fields=speaks)
            clients = [await stack.enter_async_context(await H2Client.dial(it.port)) for _ in range(12)]
            fields = [("content-type", "application/grpc"), ("te", "trailers")]
            for stream in await asyncio.gather(*(client.get("/a/b", fields, "POST", b"x") for client in clients)):
                assert (stream.status, bytes(stream.body), stream.trailers) == (200, b"x", [("grpc-status", "0")])
            assert it.hops() > 0

    run(scenario(), 30)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/grpc-web+proto", b"x"),
        ("text/plain", b"--a\r\ncontent-type: application/grpc\r\n\r\n"),
        ("application/grpc", b""),
    ],
    ids=["gRPC-Web", "a body that quotes a head", "gRPC over HTTP/1.1"],
)
def test_only_a_grpc_call_needs_an_application_that_speaks_it(kind: str, body: bytes) -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(more_fields=ANNOUNCED)
            if body == b"":
                async with await it.client(1 - it.home) as client:
                    status = (await client.get("/", f"content-type: {kind}\r\ncontent-length: 0\r\n", "POST")).status
            else:
                async with AsyncExitStack() as stack:
                    while not it.hops():
                        h2 = await stack.enter_async_context(await H2Client.dial(it.port))
                        status = (await h2.get("/", [("content-type", kind)], "POST", body)).status
            assert (status, it.hops()) == (200, 1)

    run(scenario(), 30)


def test_an_upgrade_waits_in_one_worker_for_an_instance_of_another_that_can() -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(accepts(socket_echo))
            can = await it.instance(accepts(socket_echo), limit=1, more_fields=FEATURES)
            clients = [await it.client(1 - it.home) for _ in range(2)]
            for client in clients:
                await client.send(f"GET /chat HTTP/1.1\r\nHost: x\r\n{FIELDS}\r\n".encode())
            heads = {asyncio.create_task(client.head()): client for client in clients}
            while heads:
                done, _ = await asyncio.wait(heads, timeout=10, return_when=asyncio.FIRST_COMPLETED)
                (head,) = done
                assert head.result().status == 101
                client = heads.pop(head)
                if heads:
                    await until(lambda: it.board.pool_totals(0).queued == 1, "the other waits")
                    before = it.hops()
                    async with await it.client(1 - it.home) as plain:
                        for _ in range(20):
                            assert (await plain.get("/")).status == 426, "an ordinary request does not"
                    assert it.hops() - before == 20, "the one that waits is not sent in vain"
                client.writer.write_eof()
                assert await soon(client.reader.read(), "the end of the socket") == b""
                await client.close()
            assert len(can.calls) == 2
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)
