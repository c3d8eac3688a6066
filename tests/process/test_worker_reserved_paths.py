"""What a client sends is never taken for the router's own message to an extension, in whatever spelling."""

import pytest

from tests.support.clients import ask
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])

RESERVED = [
    "/_lambda_dispatch/goaway",
    "/_lambda_dispatch",
    "/_lambda_dispatch/",
    "/_lambda_dispatch/anything/else",
    "/_lambda_dispatch/goaway?a=b",
    "/_lambda_dispatch?goaway",
    "/_lambda_dispatch/goaway#fragment",
    "/_lambda_dispatch#/goaway",
    "/_LAMBDA_DISPATCH/GOAWAY",
    "/%5flambda_dispatch/goaway",
    "/_lambda%5Fdispatch/goaway",
    "/%5F%6C%61%6D%62%64%61%5F%64%69%73%70%61%74%63%68/goaway",
    "/_lambda_dispatch%2fgoaway",
    "/_lambda_dispatch%252fgoaway",
    "/%255flambda_dispatch/goaway",
    "//_lambda_dispatch/goaway",
    "///_lambda_dispatch//goaway",
    "/./_lambda_dispatch/goaway",
    "/%2e/_lambda_dispatch/goaway",
    "/a/../_lambda_dispatch/goaway",
    "/a/%2e%2e/_lambda_dispatch/goaway",
    "/../_lambda_dispatch/goaway",
    "/a/b/.././../_lambda_dispatch/./goaway",
    "/\\_lambda_dispatch\\goaway",
    "/_lambda_dispatch\\goaway",
    "/_lambda_dispatch;v=1/goaway",
    "/_lambda_dispatch/../goaway",
]
ORDINARY = [
    "/lambda_dispatch/goaway",
    "/_lambda_dispatc/goaway",
    "/_lambda_dispatchx/goaway",
    "/x_lambda_dispatch/goaway",
    "/a/_lambda_dispatch/goaway",
    "/?p=/_lambda_dispatch/goaway",
    "/a%2f_lambda_dispatch",
    "/%5",
    "/_%zz",
    "/%",
]


@both
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE", "OPTIONS", "ANYTHING"])
@scenario
async def test_the_go_away_path_is_a_404_of_the_routers_own(worker: WorkerProcess, speaks: str, method: str) -> None:
    peer = await worker.instance()
    body = b"body" if method == "POST" else b""
    answer = await soon(
        ask(speaks, worker.ports["http"], "/_lambda_dispatch/goaway", method=method, body=body), "the answer"
    )
    assert (answer.status, answer.error) == (404, "reserved_path")
    assert peer.calls == []


@both
@scenario
async def test_no_spelling_of_a_reserved_path_reaches_an_instance(worker: WorkerProcess, speaks: str) -> None:
    peer = await worker.instance()
    for path in RESERVED:
        answer = await soon(ask(speaks, worker.ports["http"], path), "the answer")
        assert (answer.status, answer.error) == (404, "reserved_path"), path
    assert peer.calls == []


@both
@scenario
async def test_other_paths_reach_the_instance_as_they_are(worker: WorkerProcess, speaks: str) -> None:
    peer = await worker.instance()
    for path in ORDINARY:
        assert (await soon(ask(speaks, worker.ports["http"], path), "the answer")).status == 200, path
    assert [call.target for call in peer.calls] == ORDINARY


@pytest.mark.parametrize(
    "target", ["http://example.test/_lambda_dispatch/goaway", "HTTPS://example.test//%5flambda_dispatch/goaway?x"]
)
@scenario
async def test_absolute_form_is_no_way_around(worker: WorkerProcess, target: str) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        answer = await client.get(target)
        assert (answer.status, answer.error) == (404, "reserved_path")
    assert peer.calls == []


@both
@scenario
async def test_fields_that_name_an_instance_are_the_routers_alone(worker: WorkerProcess, speaks: str) -> None:
    peer = await worker.instance()
    fields = [("x-lambda-id", peer.id), ("x-channel-id", "c"), ("x-pool-id", "default"), ("x-lambda-name", "n")]
    assert (await soon(ask(speaks, worker.ports["http"], "/", fields), "the answer")).status == 200
    named = {name for name, _ in peer.calls[0].fields}
    assert not named & {"x-lambda-id", "x-channel-id", "x-pool-id"}


@pytest.mark.parametrize(
    "head",
    [
        [(":method", "GET /_lambda_dispatch/goaway HTTP/1.1\r\n"), (":path", "/")],
        [(":method", "GET"), (":path", "/_lambda_dispatch/goaway HTTP/1.1\r\nA: ")],
        [(":method", "GET"), (":path", "/a\nGET /_lambda_dispatch/goaway HTTP/1.1\n")],
        [(":method", "GET"), (":path", "/"), ("x-a", "b\nx-lambda-id: c")],
        [(":method", "GET"), (":path", "/"), ("x-a\r\nx-lambda-id", "c")],
        [(":method", "GET"), (":path", "/"), ("x-lambda-id ", "c")],
    ],
)
@scenario
async def test_no_http2_field_breaks_out_of_its_line_on_the_channel(
    worker: WorkerProcess, head: list[tuple[str, str]]
) -> None:
    peer = await worker.instance()
    async with await worker.h2() as client:
        stream = client.open_raw([*head[:2], (":scheme", "http"), (":authority", "example.test"), *head[2:]])
        await soon(stream.done(), "the end of the stream")
        assert (stream.status, stream.reset_code) == (0, 1)
    assert peer.calls == []
