"""Kills the process groups of environments when the embedded Lambda is gone, however it went.

A process of its own, run by path with nothing but the standard library: it reads `+PGID` and `-PGID` lines from its
standard input and, when that closes, sends SIGKILL to every group still on its list. A parent-death signal would reach
only the direct children, and costs a fork instead of a vfork for each; this reaches the whole group, frozen or not.
"""

import os
import signal


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    pending = b""
    while True:
        data = os.read(0, 65536)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            group = int(line[1:])
            if line[:1] == b"+":
                groups.add(group)
            else:
                groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    main()
