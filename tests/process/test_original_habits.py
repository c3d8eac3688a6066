"""What other extensions of this protocol do that ours does not: each is a habit the router has to live with."""

from lambda_dispatch_core.board import INSTANCE_OPEN
from tests.support.clients import ask
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess


@scenario
async def test_a_channel_whose_host_lacks_the_port_of_its_authority_is_parked(worker: WorkerProcess) -> None:
    given = worker.start()
    peer = await worker.dial(given, park=False)
    assert peer.authority.startswith("127.0.0.1:")
    fields = [
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("host", "127.0.0.1"),
        ("x-pool-id", "default"),
        ("x-lambda-id", given.id),
        ("x-channel-id", peer.channel_ids[0]),
    ]
    peer.park(0, fields=fields)
    await soon(peer.parked(1), "the 200")
    assert worker.board.instance(given.slot).state == INSTANCE_OPEN
    assert (await ask("h1", worker.ports["http"])).status == 200
