"""Runs the core while each of its allocations fails once: python -m tests.support.failing_allocations

Started with failmalloc.c's library preloaded. Prints, for each scenario, how many allocations were made to fail. Each
failure must come out as MemoryError, and the objects must still be usable, or at least safe to drop.
"""

import ctypes
import importlib
import re
from collections.abc import Callable
from pathlib import Path

from tests.support.h2_wire import PREFACE, Flag, data, headers, settings

LIBRARY = ctypes.CDLL(None)
MOST = 5000  # allocations of one scenario; more means that it never ends


def own_modules() -> None:
    root = Path(__file__).parents[2]
    for pyx in (root / "cython_ext" / "lambda_dispatch_core").rglob("*.pyx"):
        importlib.import_module(".".join(pyx.relative_to(root / "cython_ext").with_suffix("").parts))
    for line in Path("/proc/self/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) ..x. .*/lambda_dispatch_core/", line)
        if found:
            LIBRARY.failmalloc_own(ctypes.c_size_t(int(found[1], 16)), ctypes.c_size_t(int(found[2], 16)))


def hpack() -> None:
    from lambda_dispatch_testing.hpack_face import Decoder, Encoder

    encoder, decoder = Encoder(), Decoder(max_table_size=16384)
    for number in range(20):
        fields = [(b"x-%d" % i, b"%d" % number * 200) for i in range(60)]
        decoder.decode_block(encoder.encode_block(fields))


def http2() -> None:
    from lambda_dispatch_testing.h2_plain import PlainSession

    session = PlainSession(initial_window=1 << 20, max_header_list=60_000)
    session.feed(PREFACE + settings() + settings(flags=Flag.ACK))
    for stream in range(1, 41, 2):
        session.feed(headers(stream, flags=Flag.END_HEADERS))
        session.feed(data(stream, bytes(3000), Flag.END_STREAM))
        session.send_head(stream, [(b":status", b"200"), (b"x-long", b"y" * 3000)])
        session.send_data(stream, bytes(60_000), stream % 3 == 0)
        if stream % 4 == 1:
            session.reset(stream, 8)
    session.take()


def http1() -> None:
    from lambda_dispatch_testing.http1_face import read_request

    head = b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(100))
    read_request(b"GET / HTTP/1.1\r\nHost: example.test\r\n" + head + b"\r\n")


def buffers() -> None:
    from lambda_dispatch_core.bytes.buffer import OutBuffer
    from lambda_dispatch_core.bytes.fields import FieldList

    out, fields = OutBuffer(), FieldList()
    for i in range(200):
        out.append(bytes(i * 97))
        fields.append(b"name-%d" % i, bytes(i))
    out.drain()


SCENARIOS: dict[str, Callable[[], None]] = {"hpack": hpack, "http2": http2, "http1": http1, "buffers": buffers}


def failures(scenario: Callable[[], None]) -> int:
    """Makes the first allocation fail, then the second, until the scenario passes without reaching the nth."""
    for nth in range(1, MOST):
        LIBRARY.failmalloc_arm(ctypes.c_long(nth))
        try:
            scenario()
        except MemoryError:
            raised = True
        else:
            raised = False
        fired = bool(LIBRARY.failmalloc_fired())
        LIBRARY.failmalloc_arm(ctypes.c_long(0))
        if not fired:
            return nth - 1
        if not raised:
            raise SystemExit(f"{scenario.__name__}: allocation {nth} failed and nothing was raised")
        scenario()  # what is shared (pools of blocks) still works
    raise SystemExit(f"{scenario.__name__}: more than {MOST} allocations")


def main() -> None:
    own_modules()
    for name, scenario in SCENARIOS.items():
        scenario()
        print(name, failures(scenario), flush=True)


if __name__ == "__main__":
    main()
