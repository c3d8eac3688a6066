"""Who is at the other end of a sibling's socket."""

import asyncio
import os
import socket
import struct

from lambda_dispatch.telemetry import log


def same_user(transport: asyncio.BaseTransport) -> bool:
    """Whether it is a process of this user, as every worker of one router is."""
    sock = transport.get_extra_info("socket")
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == os.geteuid():
        return True
    log.limited(log.WARNING, "sibling connection refused", reason="another_user", uid=uid, pid=pid)
    return False
