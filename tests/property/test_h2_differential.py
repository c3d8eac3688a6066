"""python-hyper h2 as peer in both roles, and as judge of random client frames made by hyperframe."""

import random
from typing import Any

import h2.exceptions
import hpack  # type: ignore[import-untyped, unused-ignore]
from hyperframe import frame as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_hyper import Hyper, story
from tests.support.h2_pair import Event, Pairs
from tests.support.h2_wire import PREFACE, Kind, split

# no cookie: hyper joins its pieces
NAMES = [b"x-a", b"x-b", b"accept", b"user-agent", b"authorization", b"content-type", b"etag"]
VALUES = [b"", b"1", b"a/b;c=d", b"w" * 200, b"\xc3\xa4\xff", b"*/*", b"v" * 5000]


def fields(dice: random.Random) -> Pairs:
    return [(dice.choice(NAMES), dice.choice(VALUES)) for _ in range(dice.randrange(6))]


def request(dice: random.Random) -> Pairs:
    method = dice.choice([b"GET", b"POST", b"PUT", b"DELETE"])
    path = dice.choice([b"/", b"/a/b?c=d", b"/%25//", b"/" + b"p" * 300])
    return [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"here"), *fields(dice)]


class Half:
    """What one side has sent on its streams, told as `story` tells what was received."""

    def __init__(self) -> None:
        self.streams: dict[int, dict[str, Any]] = {}

    def head(self, id: int, kind: str, pairs: Pairs, end: bool) -> None:
        one = self.streams.setdefault(id, {"heads": [], "body": b"", "ended": False})
        one["heads"].append((kind, pairs))
        one["ended"] |= end

    def data(self, id: int, data: bytes, end: bool) -> None:
        self.streams[id]["body"] += data
        self.streams[id]["ended"] |= end

    def open(self) -> list[int]:
        return [id for id, one in self.streams.items() if not one["ended"]]


def converse(dice: random.Random, client: Any, server: Any, steps: int) -> None:
    """Random messages both ways over a wire that cuts where it likes; both must hear what the other said."""
    up, down = Half(), Half()
    heard: tuple[list[Event], list[Event]] = ([], [])
    answered: set[int] = set()

    def pump() -> None:
        while True:
            quiet = True
            for one, other, told in ((client, server, heard[1]), (server, client, heard[0])):
                stream = one.take()
                while stream:
                    quiet = False
                    cut = dice.randrange(len(stream)) + 1 if dice.random() < 0.5 else len(stream)
                    events = other.feed(stream[:cut])
                    stream = stream[cut:]
                    told.extend(events)
                    if isinstance(other, PlainSession):
                        for event in events:
                            if event[0] == "data":
                                other.consumed(event[1], len(event[2]))
            if quiet:
                return

    def speak(side: Any, half: Half, id: int) -> None:
        match dice.randrange(3):
            case 0 | 1:
                size, end = dice.choice([0, 1, 100, 20_000, 200_000]), dice.random() < 0.3
                body = dice.randbytes(size)
                side.send_data(id, body, end)
                half.data(id, body, end)
            case 2:
                trailers = [(b"x-sum", b"1")]
                side.send_head(id, trailers, True)
                half.head(id, "trailers", trailers, True)

    for _ in range(steps):
        match dice.randrange(4):
            case 0:
                head, end = request(dice), dice.random() < 0.4
                if isinstance(client, PlainSession):
                    id = client.open(head, end)
                    assert id is not None
                else:
                    id = client.connection.get_next_available_stream_id()
                    client.connection.send_headers(id, head, end_stream=end)
                up.head(id, "head", head, end)
            case 1 if up.open():
                speak(client, up, dice.choice(up.open()))
            case 2:
                fresh = [id for id in story(heard[1]) if id not in answered]
                if fresh:
                    id = dice.choice(fresh)
                    answered.add(id)
                    if dice.random() < 0.3:
                        early = [(b":status", b"103"), (b"link", b"</a>")]
                        server.send_head(id, early)
                        down.head(id, "informational", early, False)
                    head, end = [(b":status", b"200"), *fields(dice)], dice.random() < 0.3
                    server.send_head(id, head, end)
                    down.head(id, "head", head, end)
            case 3 if down.open():
                speak(server, down, dice.choice(down.open()))
        if dice.random() < 0.6:
            pump()
    pump()
    assert story(heard[1]) == up.streams
    assert story(heard[0]) == down.streams


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_our_server_and_hypers_client_understand_each_other(seed: int) -> None:
    server = PlainSession(initial_window=70_000, connection_window=150_000)
    converse(random.Random(seed), Hyper(client=True), server, 20)
    assert not server.session.failed
    server.lost()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_our_client_and_hypers_server_understand_each_other(seed: int) -> None:
    client = PlainSession(client=True, initial_window=70_000, connection_window=150_000)
    converse(random.Random(seed), client, Hyper(client=False), 20)
    assert not client.session.failed
    client.lost()


def random_frames(dice: random.Random, n: int) -> list[hf.Frame]:
    """A client's frames, right and wrong ones, with the hpack state of one encoder."""
    encoder = hpack.Encoder()
    last = -1
    frames: list[hf.Frame] = [hf.SettingsFrame(0)]
    for _ in range(n):
        known = dice.randrange(1, max(last, 1) + 1, 2)
        match dice.randrange(12):
            case 0 | 1 | 2:
                last += 2
                one = hf.HeadersFrame(last, encoder.encode(request(dice)), flags=["END_HEADERS"])
                if dice.random() < 0.4:
                    one.flags.add("END_STREAM")
                if dice.random() < 0.2:
                    one.flags.add("PADDED")
                    one.pad_length = dice.randrange(20)
                if dice.random() < 0.3:
                    cut = dice.randrange(len(one.data) + 1)
                    rest = hf.ContinuationFrame(last, one.data[cut:], flags=["END_HEADERS"])
                    one.data = one.data[:cut]
                    one.flags.discard("END_HEADERS")
                    frames.append(one)
                    one = rest
            case 3 | 4 | 5:
                one = hf.DataFrame(known, dice.randbytes(dice.randrange(300)))
                if dice.random() < 0.2:
                    one.flags.add("END_STREAM")
                if dice.random() < 0.2:
                    one.flags.add("PADDED")
                    one.pad_length = dice.randrange(20)
            case 6:
                one = hf.RstStreamFrame(known, dice.randrange(14))
            case 7:
                one = hf.WindowUpdateFrame(dice.choice([0, known]), dice.choice([1, 1000, 2**31 - 1]))
            case 8:
                one = hf.PingFrame(0, dice.randbytes(8))
            case 9:
                one = hf.SettingsFrame(0, settings={dice.choice([1, 3, 4, 6]): dice.choice([0, 100, 4096])})
            case 10:
                one = hf.HeadersFrame(known, encoder.encode([(b"x-sum", b"1")]), flags=["END_HEADERS", "END_STREAM"])
            case _:
                one = hf.PriorityFrame(known, depends_on=0, stream_weight=3)
        frames.append(one)
    return frames


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_frames_hyper_takes_are_taken_and_told_alike(seed: int) -> None:
    """As long as hyper finds no fault, we find none either and tell the same."""
    hyper, ours = Hyper(client=False), PlainSession()
    ours.feed(PREFACE)
    hyper.feed(PREFACE)
    told: tuple[list[Event], list[Event]] = ([], [])
    for one in random_frames(random.Random(seed), 20):
        stream = one.serialize()
        hyper.take()
        ours.take()
        try:
            events = hyper.feed(stream)
        except h2.exceptions.ProtocolError:
            break
        faults = [f for f in split(hyper.take())[0] if f.kind == Kind.RST_STREAM]
        if faults:
            break
        told[0].extend(events)
        told[1].extend(ours.feed(stream))
        assert not ours.session.failed, ours.session.error_reason
        assert not [f for f in split(ours.take())[0] if f.kind == Kind.RST_STREAM]
    assert story(told[1]) == story(told[0])
    ours.lost()
