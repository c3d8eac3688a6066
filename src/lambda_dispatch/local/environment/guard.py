"""Kills the process groups of environments when the embedded Lambda is gone, however it went.

A process of its own, run by path with nothing but the standard library: it reads `+PGID` and `-PGID` lines from its
standard input and, when that closes, sends SIGKILL to every group still on its list, and to the groups of the leaders'
descendants. A parent-death signal would reach only the direct children, and costs a fork instead of a vfork for each.
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
    # Those made a moment ago may not have been reported yet.
    for group in list(groups):
        groups.update(descendants_groups(group))
    for group in groups - {os.getpgrp()}:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass


def descendants_groups(pid: int) -> set[int]:
    found = set()
    waiting = [pid]
    while waiting:
        pid = waiting.pop()
        try:
            found.add(os.getpgid(pid))
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                    waiting.extend(int(child) for child in children.read().split())
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main()
