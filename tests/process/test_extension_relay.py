"""Requests through the extension, byte for byte: a simulated router on python-hyper's h2, an application process."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.apps.raw_app import pattern
from tests.support.extension_rig import Rig, rig, run
from tests.support.router_peer import Policy, Reset

CANCEL, INTERNAL_ERROR, REFUSED_STREAM = 8, 2, 7


async def seen(r: Rig, method: str, path: str, *args: Any) -> tuple[list[str], dict[str, Any]]:
    """What the application saw of a request: the lines of its head, and the rest."""
    answer = await r.exchange(method, path, *args)
    told = json.loads(answer.body)
    return bytes.fromhex(told["head"]).decode("latin-1").split("\r\n"), told


# Heads ----------------------------------------------------------------------------------------------------------------


def test_the_answer_names_instance_and_channel_first() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        assert channel.path == f"/api/chunked/request/{r.ids[0]}/{channel.id}"
        expected = {
            "host": f"127.0.0.1:{r.router.port}",
            "content-type": "application/octet-stream",
            "x-pool-id": "pool-1",
            "x-lambda-id": r.ids[0],
            "x-channel-id": channel.id,
        }
        assert {name: channel.headers[name] for name in expected} == expected
        assert channel.headers["date"].endswith(" GMT")
        answer = await channel.exchange("GET", "/text/5")
        assert answer.headers[:2] == [("X-Lambda-Id", r.ids[0]), ("X-Channel-Id", channel.id)]
        again = await r.router.parked()
        assert again.id == channel.id, "a channel keeps its id for the whole invoke"

    run(body)


@pytest.mark.parametrize("pass_ids", [False, True])
def test_the_application_sees_the_head_as_written_and_the_ids_where_it_asks(pass_ids: bool) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        answer = await channel.exchange("GET", "/head", [("Host", "example.org"), ("X-Pool-Id", "forged"), ("A", "b")])
        head = bytes.fromhex(json.loads(answer.body)["head"]).decode().split("\r\n")
        ids = ["x-pool-id: pool-1", f"x-lambda-id: {r.ids[0]}", f"x-channel-id: {channel.id}"]
        assert head == ["GET /head HTTP/1.1", "Host: example.org", "A: b", *(ids if pass_ids else [])]

    run(body, env={"LAMBDA_DISPATCH_PASS_IDS": str(pass_ids)})


@pytest.mark.parametrize("cut", [1, 7, 64])
def test_a_head_split_over_many_frames_is_intact(cut: int) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        request = b"POST /head?q HTTP/1.1\r\nX-Name: 1\r\nX-Name-2: 2\r\ncontent-length: 5\r\n\r\nhello"
        channel.send_frames([request[i : i + cut] for i in range(0, len(request), cut)], end=True)
        told = json.loads((await channel.answer()).body)
        assert bytes.fromhex(told["head"]).startswith(b"POST /head?q HTTP/1.1\r\nX-Name: 1\r\nX-Name-2: 2\r\n")
        assert told["body"] == 5

    run(body)


def test_a_bare_line_feed_ends_a_line_of_the_head() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        channel.send_frames([b"GET /head HTTP/1.1\nHost: h\n\n"], end=True)
        told = json.loads((await channel.answer()).body)
        assert bytes.fromhex(told["head"]) == b"GET /head HTTP/1.1\r\nHost: h"

    run(body)


def test_paths_are_delivered_byte_for_byte() -> None:
    async def body(r: Rig) -> None:
        for path in (
            "//",
            "/a+b",
            "/%25",
            "/[x]?y[]=1",
            "/?a=1&a=2&b",
            "/caf\u00e9\u00ff",
            "/a/../b/./c",
            "/?q=%zz|{}",
            "*",
        ):
            head, _ = await seen(r, "GET", path, [("host", "h")])
            assert head[0] == f"GET {path} HTTP/1.1"

    run(body)


def test_no_host_is_invented() -> None:
    async def body(r: Rig) -> None:
        head, _ = await seen(r, "GET", "/head")
        assert not [line for line in head if line.lower().startswith("host")]

    run(body)


def test_hop_by_hop_fields_go_no_further_in_either_direction() -> None:
    async def body(r: Rig) -> None:
        fields = [("connection", "close, x-mine"), ("x-mine", "1"), ("te", "trailers"), ("upgrade", "h2c")]
        head, _ = await seen(r, "GET", "/head", [*fields, ("expect", "100-continue"), ("keep-alive", "3"), ("b", "c")])
        assert head[1] == "b: c" and len(head) == 2
        answer = await r.exchange("GET", "/cookies")
        assert answer.all("set-cookie") == ["a=1", "b=2"]
        assert not {"connection", "keep-alive", "x-hop"} & {name.lower() for name, _ in answer.headers}
        assert answer.all("x-lambda-id") == [r.ids[0]]

    run(body)


def test_what_only_lambda_may_say_is_not_taken_from_a_client() -> None:
    async def body(r: Rig) -> None:
        names = ("X-Amz-Tenant-Id", "x-amzn-lambda-context", "x-amzn-REQUEST-context")
        near = [("x-amzn-request-contexts", "1"), ("x-amz-tenant-ids", "2"), ("x-amzn-lambda-contact", "3")]
        head, _ = await seen(r, "GET", "/head", [*((name, "spoofed") for name in names), *near])
        assert head[1:] == [f"{name}: {value}" for name, value in near]

    run(body)


@pytest.mark.parametrize(("count", "size"), [(4, 31 * 1024), (1, 64 * 1024)])
def test_big_headers_pass_in_both_directions(count: int, size: int) -> None:
    async def body(r: Rig) -> None:
        for _ in range(2):
            head, _ = await seen(r, "GET", "/head", [(f"x-big-{i}", "v" * size) for i in range(count)])
            assert head[1 : 1 + count] == [f"x-big-{i}: {'v' * size}" for i in range(count)]
            answer = await r.exchange("GET", f"/headers/{count}/{size}")
            assert [answer.get(f"x-big-{i}") for i in range(count)] == ["v" * size] * count
            assert answer.body == b"big"

    run(body)


def test_an_unparsable_inner_head_parks_that_channel_again_and_the_others_go_on() -> None:
    async def body(r: Rig) -> None:
        bad, good = await r.router.all_parked(2)
        waiting = asyncio.ensure_future(good.exchange("POST", "/echo", [], b"x" * 1000))
        bad.send_frames([b"NONSENSE\r\n\r\n"], end=True)
        answer = await bad.answer()
        assert answer.status == 400 and answer.body.startswith(b"the request's head could not be read")
        assert (await waiting).body == b"x" * 1000
        again = await r.router.all_parked(2)
        assert {channel.id for channel in again} == {bad.id, good.id}
        for channel in again:
            assert (await channel.exchange("GET", "/text/4")).body == b"all "

    run(body, 2)


def test_a_head_that_never_ends_is_answered_431() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        sending = asyncio.ensure_future(channel.send(b"GET / HTTP/1.1\r\nx: " + b"y" * 300_000, end=True))
        assert (await channel.answer()).status == 431
        await sending
        assert (await r.exchange("GET", "/text/4")).status == 200

    run(body)


def test_a_head_cut_short_is_answered_400() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        channel.send_frames([b"GET / HTTP/1.1\r\nx: "], end=True)
        assert (await channel.answer()).status == 400
        await r.router.parked()

    run(body)


# Bodies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/echo", "/echo-length"])
def test_a_body_of_any_size_comes_back_whole(path: str) -> None:
    async def body(r: Rig) -> None:
        for size in (0, 1, 1000, 65_535, 65_536, 2_000_000):
            data = pattern(size)
            answer = await r.exchange("POST", path, [("content-length", str(size))], data)
            assert answer.body == data

    run(body)


def test_a_body_without_a_length_is_chunked_towards_the_application() -> None:
    async def body(r: Rig) -> None:
        for fields in (
            [],
            [("transfer-encoding", "chunked")],
            [("Transfer-Encoding", "chunked"), ("content-length", "3")],
        ):
            channel = await r.router.parked()
            sending = asyncio.ensure_future(channel.request("POST", "/head", fields, pattern(100_000)))
            told = json.loads((await channel.answer()).body)
            await sending
            assert told["chunked"] and told["body"] == 100_000
            assert b"content-length" not in bytes.fromhex(told["head"]).lower()

    run(body)


@pytest.mark.parametrize("separate_end", [False, True])
def test_a_get_without_a_body_has_no_framing(separate_end: bool) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        request = b"GET /head HTTP/1.1\r\nhost: h\r\n\r\n"
        channel.send_frames([request, b""] if separate_end else [request], end=not separate_end)
        if separate_end:
            await asyncio.sleep(0)
            channel.send_frames([], end=True)
        told = json.loads((await channel.answer()).body)
        head = bytes.fromhex(told["head"]).lower()
        assert b"transfer-encoding" not in head and b"content-length" not in head

    run(body)


def test_a_get_may_have_a_body() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        channel.send_frames([b"GET /echo HTTP/1.1\r\nhost: h\r\n\r\n"])
        channel.send_frames([b"hello"], end=True)
        assert (await channel.answer()).body == b"hello"

    run(body)


def test_left_over_bytes_after_the_head_belong_to_the_body() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        channel.send_frames([b"POST /echo HTTP/1.1\r\ncontent-length: 11\r\n\r\nhello", b" world"], end=True)
        assert (await channel.answer()).body == b"hello world"

    run(body)


@pytest.mark.parametrize("body_bytes", [b"too short", b"longer than was announced by the head"])
def test_a_body_that_is_not_as_long_as_announced_never_reaches_the_next_request(body_bytes: bytes) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        channel.send_frames([b"POST /echo-length HTTP/1.1\r\ncontent-length: 20\r\n\r\n" + body_bytes], end=True)
        assert await channel.until_reset() == INTERNAL_ERROR
        assert (await r.exchange("POST", "/echo", [], b"clean")).body == b"clean"

    run(body)


def test_the_answer_may_begin_before_the_request_has_ended() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        await channel.send(b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await channel.head()).status == 200
        for i in range(20):
            piece = pattern(5000, i * 5000)
            await channel.send(piece)
            assert await channel.read(5000) == piece
        await channel.send(b"", end=True)
        await channel.wait(lambda: channel.ended)

    run(body)


def test_a_duplex_echo_of_several_windows_does_not_stall() -> None:
    async def body(r: Rig) -> None:
        channels = await r.router.all_parked(4)
        data = pattern(2_000_000)
        answers = await asyncio.gather(
            *(channel.exchange("POST", "/echo", [("content-length", str(len(data)))], data) for channel in channels)
        )
        assert all(answer.body == data for answer in answers)

    run(body, 4)


def test_heads_and_first_bytes_leave_at_once() -> None:
    async def body(r: Rig) -> None:
        head_only, event = await r.router.all_parked(2)
        await head_only.request("GET", "/flush-head")
        assert (await head_only.head()).get("content-length") == "4"
        await event.request("GET", "/gated")
        await event.head()
        assert await event.read(13) == b"data: first\n\n"
        assert (await r.exchange("GET", "/open")).body == b"open"
        assert (await event.read(14)) == b"data: second\n\n"
        assert await head_only.read(4) == b"body"

    run(body, 3)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bytes/300000", pattern(300_000)),
        ("/chunks/50/7000", pattern(350_000)),
        ("/chunks/0/1", b""),
        ("/until-close/200000", pattern(200_000)),
        ("/until-close/0", b""),
        ("/http10", b"old"),
        ("/interim", b"done"),
        ("/no-reason", b"ok"),
    ],
)
def test_every_framing_of_an_answer_is_understood(path: str, expected: bytes) -> None:
    async def body(r: Rig) -> None:
        for _ in range(2):
            answer = await r.exchange("GET", path)
            assert (answer.status, answer.body) == (200, expected)
            assert answer.get("transfer-encoding") is None

    run(body)


def test_early_hints_reach_a_router_that_has_given_a_secret_and_no_other() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        answer = await channel.exchange("GET", "/interim")
        assert (answer.status, answer.body) == (200, b"done"), "the original would take a 103 for the answer"
        await (await r.router.parked()).go_away()
        r.invoke(1, Secret="c2VjcmV0c2VjcmV0c2U")
        channel = await r.router.parked()
        await channel.request("GET", "/interim")
        hints = await channel.head()
        assert (hints.status, hints.reason, hints.headers) == (103, "Early Hints", [("link", "</a>")])
        answer = await channel.answer()
        assert (answer.status, answer.body) == (200, b"done")

    run(body)


def test_every_call_says_whose_it_is_and_shows_the_invokes_secret() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        assert channel.headers["x-lambda-dispatch-extension"] == "1"
        assert "x-lambda-dispatch-secret" not in channel.headers
        await channel.go_away()
        secret = "c2VjcmV0c2VjcmV0c2U"
        r.invoke(1, timeout=16.0, Secret=secret)
        channel = await r.router.parked()
        assert channel.headers["x-lambda-dispatch-secret"] == secret
        # The deadline is within its margin after a second: a close call.
        await r.router.until(lambda: bool(r.router.closes))
        close = r.router.closes[0]
        assert (close["x-lambda-dispatch-extension"], close["x-lambda-dispatch-secret"]) == ("1", secret)

    run(body)


@pytest.mark.parametrize("lines", ["", "X-Lambda-Id: 00000000-0000-4000-8000-000000000000\r\n"])
def test_a_request_for_the_go_away_path_is_relayed_unless_it_names_this_invoke(lines: str) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        await channel.send(f"GET /_lambda_dispatch/goaway HTTP/1.1\r\n{lines}\r\n".encode(), end=True)
        told = json.loads((await channel.answer()).body)
        assert bytes.fromhex(told["head"]).startswith(b"GET /_lambda_dispatch/goaway HTTP/1.1")
        channel = await r.router.parked()
        path = "/_lambda_dispatch/goaway?x"
        await channel.send(f"GET {path} HTTP/1.1\r\nX-Lambda-Id: {r.ids[0]}\r\n\r\n".encode(), end=True)
        assert (await channel.answer()).status == 200
        await (await r.router.parked()).go_away()
        invocation = next(iter(r.api.invocations.values()))
        assert (await invocation.result())["RequestCount"] == 2

    run(body)


@pytest.mark.parametrize(
    ("path", "cause", "sent"),
    [
        ("/garbage", "bad answer head", 'sent="SSH-2.0-OpenSSH_9.2\\r\\n\\r\\n"'),
        ("/bad-chunk", "broken chunked framing", ""),
        ("/short", "closed the connection within its answer", ""),
        ("/drop", "closed the connection before its answer", ""),
    ],
)
def test_the_log_says_why_a_request_failed_and_what_the_application_sent(path: str, cause: str, sent: str) -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        await channel.request("GET", path)
        await channel.until_reset()
        line = await r.extension.line("request failed")
        assert f"id={r.ids[0][:8]} " in line and r.ids[0] not in line
        assert cause in line and sent in line

    run(body)


def test_a_client_that_causes_failures_does_not_fill_the_log() -> None:
    async def body(r: Rig) -> None:
        for _ in range(30):
            channel = await r.router.parked()
            await channel.request("GET", "/garbage")
            await channel.until_reset()
        await (await r.router.parked()).go_away()
        await r.extension.line('log lines suppressed event="request failed" count=20')
        assert len([line for line in r.extension.lines if "request failed id" in line]) == 10

    run(body)


def test_answers_without_a_body_end_at_once() -> None:
    async def body(r: Rig) -> None:
        answer = await r.exchange("HEAD", "/bytes/1000")
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "1000", b"")
        for status in ("204", "304"):
            answer = await r.exchange("GET", f"/status/{status}")
            assert (answer.status, answer.reason, answer.body) == (int(status), "Reason Here", b"")
        assert (await r.exchange("GET", "/status/404")).body == b"status"

    run(body)


# Back-pressure --------------------------------------------------------------------------------------------------------


def test_an_application_that_does_not_read_stops_the_router_within_256_kib() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        before = r.extension.resident()
        await channel.send(b"POST /stall HTTP/1.1\r\ncontent-length: 40000000\r\n\r\n")
        sending = asyncio.ensure_future(channel.send(pattern(40_000_000), end=True))
        quiet = 0
        while quiet < 3:  # nothing has moved for a while: no credit, no bytes
            stands = channel.link.connection.outbound_flow_control_window
            await asyncio.sleep(0.1)
            quiet = quiet + 1 if channel.link.connection.outbound_flow_control_window == stands else 0
        assert channel.link.connection.local_flow_control_window(channel.stream) == 0
        assert not sending.done()
        assert r.extension.resident() - before < 8_000
        assert (await r.exchange("GET", "/open")).body == b"open"
        assert (await channel.answer()).body == b"40000000"
        await sending

    run(body, 2)


def test_a_router_that_gives_no_credit_stops_the_application() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        before = r.extension.resident()
        await channel.request("GET", "/bytes/40000000")
        await channel.head()
        await channel.wait(lambda: len(channel.data) >= 65_535 - 200)
        await asyncio.sleep(0.3)
        assert r.extension.resident() - before < 8_000
        r.router.policy.credit = True
        channel.credit()
        await channel.wait(lambda: channel.ended)
        assert bytes(channel.data) == pattern(40_000_000)

    run(body, policy=Policy(credit=False))


# The client goes away -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["sending", "waiting", "reading"])
def test_a_request_taken_back_frees_its_channel_and_its_socket(stage: str) -> None:
    async def body(r: Rig) -> None:
        await r.exchange("GET", "/text/4")
        files = r.extension.files()
        for _ in range(20):
            channel = await r.router.parked()
            if stage == "sending":
                await channel.send(b"POST /stall HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 30_000)
            elif stage == "waiting":
                await channel.request("GET", "/gated-head")
            else:
                await channel.request("GET", "/gated")
                await channel.head()
            channel.reset()
            again = await r.router.parked()
            assert again.id == channel.id
            r.router.park_again(again)
        assert (await r.exchange("GET", "/text/4")).body == b"all "
        assert r.extension.files() <= files + 1

    run(body)


def test_a_router_that_resets_while_the_answer_is_held_back_frees_everything() -> None:
    async def body(r: Rig) -> None:
        for _ in range(5):
            channel = await r.router.parked()
            await channel.request("GET", "/bytes/5000000")
            await channel.wait(lambda channel=channel: len(channel.data) > 60_000)
            channel.reset()
        assert (await r.exchange("GET", "/text/4")).body == b"all "

    run(body, policy=Policy(credit=False))


def test_many_requests_at_once_over_several_connections() -> None:
    async def whole() -> None:
        async with rig() as r:
            r.invoke(20, NumberOfConnections=4)
            channels = await r.router.all_parked(20)
            assert len(r.router.links) == 4
            assert {sum(c.link is link for c in channels) for link in r.router.links} == {5}
            for channel in channels:
                r.router.park_again(channel)

            async def worker(number: int) -> None:
                for i in range(20):
                    data = pattern(number * 997 + i)
                    assert (await r.exchange("POST", "/echo", [], data)).body == data

            await asyncio.gather(*(worker(number) for number in range(20)))
            counts = json.loads((await r.exchange("GET", "/counts")).body)
            assert counts["/echo"] == 400

    asyncio.run(whole())


def test_a_node_application_is_served_unchanged() -> None:
    import shutil

    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    async def body(r: Rig) -> None:
        for size in (0, 3, 100_000, 3_000_000):
            data = pattern(size)
            answer = await r.exchange("POST", "/echo", [("host", "h"), ("content-length", str(size))], data)
            assert answer.body == data
        answer = await r.exchange("GET", "/json", [("host", "h"), ("accept-encoding", "gzip")])
        assert (answer.get("content-encoding"), answer.get("vary")) == ("gzip", "accept-encoding")
        answer = await r.exchange("HEAD", "/json", [("host", "h")])
        assert answer.body == b"" and int(answer.get("content-length") or 0) > 1024
        assert (await r.exchange("GET", "/nothing", [("host", "h")])).status == 204
        assert (await r.exchange("GET", "/missing", [("host", "h")])).status == 404

    run(body, app=("tests/support/apps/node_app.js",), interpreter=node)


def test_an_asgi_application_is_served_unchanged() -> None:
    async def body(r: Rig) -> None:
        data = pattern(500_000)
        answer = await r.exchange("POST", "/echo", [("host", "h"), ("content-length", str(len(data)))], data)
        assert answer.body == data
        answer = await r.exchange("GET", "/scope?a=%20b", [("host", "h"), ("x-a", "1"), ("x-a", "2")])
        scope = json.loads(answer.body)
        assert (scope["path"], scope["query"]) == ("/scope", "a=%20b")
        assert [value for name, value in scope["headers"] if name == "x-a"] == ["1", "2"]
        assert (await r.exchange("GET", "/stream", [("host", "h")])).body == b"".join(b"%d\n" % i for i in range(100))

    run(body, app=("-m", "tests.support.apps.asgi_app"))


def test_a_reset_seen_by_the_peer_is_reported_as_one() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        await channel.request("GET", "/drop")
        with pytest.raises(Reset):
            await channel.answer()

    run(body)
