"""Compression on the way: a simulated router, an application process."""

import gzip
import zlib

from tests.support.apps.raw_app import pattern
from tests.support.extension_rig import Rig, run

GZIP = [("host", "h"), ("accept-encoding", "br, gzip")]


def test_text_is_gzipped_for_those_who_ask() -> None:
    async def body(r: Rig) -> None:
        plain = await r.exchange("GET", "/text/50000")
        squeezed = await r.exchange("GET", "/text/50000", GZIP)
        assert (plain.get("content-encoding"), plain.get("content-length")) == (None, "50000")
        assert plain.get("vary") == "accept-encoding", "a cache must know that others get something else"
        assert (squeezed.get("content-encoding"), squeezed.get("content-length")) == ("gzip", None)
        assert squeezed.get("vary") == "accept-encoding"
        assert gzip.decompress(squeezed.body) == plain.body
        assert len(squeezed.body) < 1000

    run(body, 2)


def test_streamed_text_is_gzipped_and_every_piece_is_flushed_as_it_comes() -> None:
    async def body(r: Rig) -> None:
        channel = await r.router.parked()
        await channel.request("GET", "/gated", GZIP)
        answer = await channel.head()
        assert (answer.get("content-encoding"), answer.get("content-type")) == ("gzip", "text/event-stream")
        unzip = zlib.decompressobj(31)
        text = b""
        while text != b"data: first\n\n":
            await channel.wait(lambda: len(channel.data) > 0)
            text += unzip.decompress(await channel.read(len(channel.data)))
        assert (await r.exchange("GET", "/open")).status == 200
        await channel.wait(lambda: channel.ended)
        text += unzip.decompress(bytes(channel.data)) + unzip.flush()
        assert text == b"data: first\n\ndata: second\n\n" and unzip.eof

    run(body, 2)


def test_big_streamed_text_comes_out_whole() -> None:
    async def body(r: Rig) -> None:
        answer = await r.exchange("GET", "/chunks/200/9999", GZIP)
        assert answer.get("content-encoding") == "gzip"
        assert gzip.decompress(answer.body) == pattern(200 * 9999)
        answer = await r.exchange("GET", "/chunks/0/1", GZIP)
        assert gzip.decompress(answer.body) == b""

    run(body, 2)


def test_what_must_not_be_gzipped_is_left_alone() -> None:
    async def body(r: Rig) -> None:
        for method, path, fields in (
            ("HEAD", "/text/50000", ""),
            ("GET", "/text/1024", ""),
            ("GET", "/bytes/50000", ""),
            ("GET", "/text/50000/image+png", ""),
            ("POST", "/fields/50000", "content-type: text/html\r\ncontent-encoding: br\r\n"),
            ("POST", "/fields/50000", "content-type: text/html\r\ncache-control: no-transform\r\n"),
        ):
            answer = await r.exchange(method, path, GZIP, fields.encode())
            assert answer.get("content-encoding") in (None, "br"), path
            assert answer.get("vary") is None
            assert answer.get("content-length") is not None
        answer = await r.exchange("GET", "/text/50000", [("accept-encoding", "gzip;q=0, *")])
        assert answer.get("content-encoding") is None

    run(body, 2)


def test_a_strong_etag_becomes_a_weak_one_and_vary_is_not_said_twice() -> None:
    async def body(r: Rig) -> None:
        fields = b'content-type: text/html\r\nETag: "abc"\r\nVary: Origin, Accept-Encoding\r\n'
        answer = await r.exchange("POST", "/fields/50000", GZIP, fields)
        assert answer.get("etag") == 'W/"abc"'
        assert answer.all("vary") == ["Origin, Accept-Encoding"]
        weak = b'content-type: text/html\r\nETag: W/"abc"\r\n'
        assert (await r.exchange("POST", "/fields/50000", GZIP, weak)).get("etag") == 'W/"abc"'

    run(body, 2)


def test_compression_can_be_turned_off() -> None:
    async def body(r: Rig) -> None:
        answer = await r.exchange("GET", "/text/50000", GZIP)
        assert (answer.get("content-encoding"), answer.get("vary")) == (None, None)

    run(body, 2, env={"LAMBDA_DISPATCH_ENABLE_COMPRESSION": "false"})
