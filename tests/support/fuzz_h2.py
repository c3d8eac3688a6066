"""Random and mutated frame sequences into both roles, with what must hold whatever comes.

python -m tests.support.fuzz_h2 [SECONDS] [SEED]
"""

import random
import sys
import time
from collections.abc import Callable

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_pair import Event, Pairs
from tests.support.h2_wire import (
    PREFACE,
    REQUEST,
    Flag,
    Kind,
    block,
    continuation,
    data,
    frame,
    goaway,
    ping,
    priority,
    rst,
    settings,
    split,
    u32,
    window,
)

OK: Pairs = [(b":status", b"200")]
INTERIM: Pairs = [(b":status", b"103"), (b"link", b"</a>")]
FIELDS: Pairs = [
    (b"content-length", b"5"),
    (b"content-length", b"0"),
    (b"te", b"trailers"),
    (b"x-long", b"v" * 300),
    (b"cookie", b"a=b"),
    (b"Upper", b"1"),
    (b"connection", b"close"),
    (b"x", b"bad\x00"),
    (b":path", b"/again"),
]
WINDOW, CONNECTION_WINDOW = 40_000, 100_000
OUT_BOUND = 1 << 20  # bytes a single read may make a session say, pending bodies included


def message(dice: random.Random, heads: list[Pairs], stream: int, ending: float) -> bytes:
    """HEADERS, whole or in pieces, padded or not, usually of a good message."""
    pairs = list(dice.choice(heads))
    while dice.random() < 0.1:
        pairs.insert(dice.randrange(len(pairs) + 1), dice.choice(FIELDS))
    encoded = block(pairs)
    if dice.random() < 0.02:
        encoded += bytes([dice.choice((0x20, 0x3F, 0x40, 0x80, 0x82, 0xBE, 0xBF, 0xFF))]) + dice.randbytes(2)
    end = Flag.END_STREAM if dice.random() < ending else 0
    flags, front, back = end, b"", b""
    if dice.random() < 0.2:
        pad = dice.randrange(4)
        flags, front, back = flags | Flag.PADDED, bytes([pad]), bytes(pad)
    if dice.random() < 0.2:
        flags, front = flags | Flag.PRIORITY, front + u32(dice.randrange(4)) + b"\x10"
    if dice.random() < 0.8:
        return frame(Kind.HEADERS, flags | Flag.END_HEADERS, stream, front + encoded + back)
    cuts = sorted(dice.randrange(len(encoded) + 1) for _ in range(dice.randrange(1, 4)))
    pieces = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    parts = [frame(Kind.HEADERS, flags, stream, front + pieces[0] + back)]
    parts += [continuation(stream, piece, 0) for piece in pieces[1:-1]]
    return b"".join(parts) + continuation(stream, pieces[-1])


def body(dice: random.Random, stream: int, most: int) -> bytes:
    end = Flag.END_STREAM if dice.random() < 0.1 else 0
    payload = dice.randbytes(dice.choice((0, 1, 5, dice.randrange(most + 1))))
    if dice.random() < 0.2:
        pad = dice.randrange(8)
        return data(stream, bytes([pad]) + payload + bytes(pad), end | Flag.PADDED)
    return data(stream, payload, end)


def sequence(dice: random.Random, n: int, most: int, heads: list[Pairs], new: Callable[[], int]) -> bytes:
    known: list[int] = []

    def opening() -> bytes:
        known.append(new())
        return message(dice, heads, known[-1], 0.2)

    def any_stream() -> int:
        return dice.choice([*known[-4:], *known[-4:], 0, 2, 99])

    first = b"".join(opening() for _ in range(3))
    makers: list[tuple[int, Callable[[], bytes]]] = [
        (20, opening),
        (5, lambda: message(dice, [[(b"x-sum", b"1")]], dice.choice(known[-4:]), 0.95)),
        (50, lambda: body(dice, dice.choice(known[-4:]), most)),
        (10, lambda: window(dice.choice([0, *known]), dice.choice((1, 10, 1000, 65535)))),
        (6, lambda: rst(dice.choice(known), dice.randrange(15))),
        (6, lambda: ping(dice.randbytes(8), dice.choice((0, 0, Flag.ACK)))),
        (4, lambda: settings((dice.choice((1, 3, 4, 6, 7)), dice.choice((0, 1, 100, 16384, 65535))))),
        (1, lambda: settings((dice.randrange(8), dice.choice((0, 1, 100, 16384, 65535))))),
        (3, lambda: settings(flags=Flag.ACK)),
        (3, lambda: priority(dice.choice(known))),
        (2, lambda: goaway(dice.choice((0, 3, 2**31 - 1)), dice.randrange(3))),
        (2, lambda: frame(dice.randrange(10, 256), dice.randrange(256), any_stream(), dice.randbytes(9))),
        (1, lambda: body(dice, any_stream(), most)),
        (1, lambda: rst(any_stream())),
        (1, lambda: window(any_stream(), dice.choice((0, 2**31 - 1)))),
        (1, lambda: frame(dice.randrange(10), dice.randrange(256), any_stream(), dice.randbytes(dice.randrange(12)))),
    ]
    weights = [weight for weight, _ in makers]
    return first + b"".join(dice.choices(makers, weights)[0][1]() for _ in range(n))


def frames_of_a_client(dice: random.Random, n: int, most: int = 16384) -> bytes:
    """What might follow a client's preface."""
    last = -1

    def new() -> int:
        nonlocal last
        last += 2 if dice.random() < 0.95 else 6
        return last

    post: Pairs = [(b":method", b"POST"), *REQUEST[1:]]
    return settings() + sequence(dice, n, most, [REQUEST, post, post], new)


def frames_of_a_server(dice: random.Random, n: int, most: int = 16384) -> bytes:
    """What a server might say to requests 1, 3 and 5."""
    streams = iter([1, 3, 5])
    return settings() + sequence(dice, n, most, [OK, OK, INTERIM], lambda: next(streams, dice.choice((1, 3, 5))))


def mutated(dice: random.Random, stream: bytes) -> bytes:
    changed = bytearray(stream)
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(changed))
        match dice.randrange(4):
            case 0:
                changed[at] ^= 1 << dice.randrange(8)
            case 1:
                changed[at] = dice.randrange(256)
            case 2:
                del changed[at : at + dice.randrange(20)]
            case _:
                changed[at:at] = dice.randbytes(dice.randrange(20))
        if not changed:
            break
    return bytes(changed)


def acting(dice: random.Random, client: bool) -> PlainSession:
    """A session that does something about its events now and then, from inside them."""

    def on(event: Event) -> None:
        if event[0] in ("head", "data", "trailers", "drained", "informational"):
            stream = event[1]
            match dice.randrange(12):
                case 0 | 1:
                    session.send_head(stream, OK, dice.random() < 0.3)
                case 2 | 3:
                    session.send_data(stream, bytes(dice.randrange(20_000)), dice.random() < 0.3)
                case 4 | 5 | 6 if event[0] == "data":
                    session.consumed(stream, dice.randrange(len(event[2]) + 1))
                case 7:
                    session.reset(dice.choice(session.streams() or [stream]), 8)
                case 8 if dice.random() < 0.3:
                    session.block()
                case 9:
                    session.send_head(stream, [(b"x-sum", b"1")], True)
                case 10 if dice.random() < 0.02:
                    session.fail(2, "by chance")
                case 11 if dice.random() < 0.02:
                    session.lost()

    session = PlainSession(
        client=client,
        hook=on,
        share_connection_credit=dice.random() < 0.5,
        initial_window=WINDOW,
        connection_window=CONNECTION_WINDOW,
        max_concurrent_streams=10,
        max_header_block=20_000,
        max_header_list=10_000,
    )
    return session


def check(session: PlainSession, shared: bool) -> None:
    """What holds between any two calls."""
    streams = session.streams()
    figures = session.figures()
    assert len(streams) == figures["slots"] == session.session.open_streams
    assert figures["block_room"] <= 40_000
    assert figures["control"] <= 2048 and figures["reset_budget"] <= 1024
    ring = False
    owed = 0
    for id in streams:
        stream = session.stream(id)
        assert stream is not None
        assert stream["state"] in (1, 2, 3)
        assert stream["pending"] >= 0 and stream["owed"] >= 0 and stream["unreturned"] >= 0
        assert stream["send_window"] <= 2**31 - 1
        if stream["state"] != 3:
            assert stream["recv_window"] + stream["owed"] + stream["unreturned"] <= figures["our_initial"]
        if not session.session.failed:
            assert stream["in_ring"] == (stream["pending"] > 0 and stream["send_window"] > 0)
        ring = ring or bool(stream["in_ring"])
        owed += stream["owed"]
    assert ring == bool(figures["ready"])
    if ring and not session.session.failed and not session.session.blocked:
        assert figures["send_window"] <= 0
    assert figures["send_window"] <= 2**31 - 1
    total = figures["recv_window"] + figures["unreturned"]
    assert total <= CONNECTION_WINDOW if shared else total + owed <= CONNECTION_WINDOW


def once(dice: random.Random) -> None:
    client = dice.random() < 0.4
    session = acting(dice, client)
    shared = session.session.share_connection_credit
    if client:
        for _ in range(3):
            session.open(REQUEST, dice.random() < 0.5)
    stream = frames_of_a_server(dice, 40) if client else PREFACE + frames_of_a_client(dice, 40)
    if dice.random() < 0.5:
        stream = mutated(dice, stream)
    at = 0
    said = session.take()
    while at < len(stream):
        step = dice.choice((1, 7, 100, 5000, len(stream)))
        session.feed(stream[at : at + step])
        at += step
        check(session, shared)
        if session.session.blocked and dice.random() < 0.5:
            session.unblock(dice.choice((1, 1000, 100_000)))
            check(session, shared)
        taken = session.take()
        assert len(taken) < OUT_BOUND
        said += taken
    frames, rest = split(said[len(PREFACE) :] if client else said)
    assert not rest
    assert all(len(one.payload) <= 16384 for one in frames)
    goaways = [i for i, one in enumerate(frames) if one.kind == Kind.GOAWAY]
    assert len(goaways) == session.session.failed
    assert not goaways or goaways == [len(frames) - 1]
    session.lost()
    assert session.figures()["slots"] == 0


def run(seconds: float, seed: int) -> int:
    """Fuzzes for so long; the number of sequences. What goes wrong is raised with the seed of its sequence."""
    done = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            once(random.Random(seed + done))
        except Exception as error:
            error.add_note(f"h2: seed {seed + done}")
            raise
        done += 1
    return done


if __name__ == "__main__":
    print(run(float((sys.argv + ["60"])[1]), int((sys.argv + ["", "0"])[2] or 0)), "sequences")
