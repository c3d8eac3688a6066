"""What a request that asks for debugging leaves in the log: where it went, from worker to worker to instance."""

import re
import time
import uuid

from tests.support.clients import RawClient
from tests.support.instance_peer import InstancePeer
from tests.support.loop import scenario, soon, until
from tests.support.supervised import Router

LIFE = 900 * 1_000_000_000
STAGE = re.compile(r'worker (\d): request request="GET /\?n=(\d+) HTTP/1.1" stage="sent to (worker|instance) (\S+)"')


@scenario
async def test_a_request_that_is_lent_a_slot_says_so_and_the_lender_says_which_instance() -> None:
    with Router(workers=2, real=True, allow_debug_header=True, log_level="info") as router:
        board = router.board(write=True)
        key, now = uuid.uuid4(), time.monotonic_ns()
        assert board.allocate_instance(0, key.bytes, 4, now, now + LIFE) is not None
        peer = await InstancePeer.dial("127.0.0.1", router.ports["control_http"], str(key), channels=4)
        await soon(peer.parked(), "the channels to park")
        asked = 0
        while board.worker_numbers(0)["dispatched_sibling"] + board.worker_numbers(1)["dispatched_sibling"] == 0:
            # The kernel chooses the worker; one of them has no slot of its own.
            async with await RawClient.dial(router.ports["http"]) as client:
                assert (await client.get(f"/?n={asked}", "X-Lambda-Dispatch-Debug: True\r\n")).status == 200
            asked += 1
        await until(lambda: f'?n={asked - 1} HTTP/1.1" stage="over: 200' in router.log(), "its last stage")
        stages = [found.groups() for found in STAGE.finditer(router.log())]
        lent = [(worker, sibling) for worker, n, kind, sibling in stages if n == str(asked - 1) and kind == "worker"]
        assert len(lent) == 1
        assert (lent[0][1], str(asked - 1), "instance", str(key)[:8]) in stages
        async with await RawClient.dial(router.ports["http"]) as client:
            await client.get("/?n=777")
        await peer.leave()
        board.close()
        assert "n=777" not in router.log()
