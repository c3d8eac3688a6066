"""Standard output and standard error, written without waiting for their reader.

A reader that stalls (a full pipe, a stopped terminal) must not stop the process that writes. O_NONBLOCK is shared by
all processes that have the descriptor, so it is not set: a pipe or terminal is opened once more, for this process
alone, and a socket is sent to with MSG_DONTWAIT. Where a pipe belongs to another user and cannot be opened again,
poll() is asked before each piece of at most PIPE_BUF bytes.
"""

import os
import select
import socket
import stat

# A pipe that polls writable takes this much without blocking (POSIX PIPE_BUF).
PIECE = 4096


class Sink:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.broken = False  # the reader has closed its end
        self._regular = False
        self._socket: socket.socket | None = None
        self._own = -1  # opened here, non-blocking
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISSOCK(mode):
                self._socket = socket.socket(fileno=os.dup(fd))
            elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
                self._own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            else:
                self._regular = True
        except OSError:
            pass

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken: all, some or 0. When the reader is gone, all are taken and lost."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            try:
                if self._socket is not None:
                    at += self._socket.send(view[at:], socket.MSG_DONTWAIT)
                elif self._own >= 0:
                    at += os.write(self._own, view[at:])
                elif self._regular or self._ready():
                    at += os.write(self.fd, view[at:] if self._regular else view[at : at + PIECE])
                else:
                    break
            except BlockingIOError:
                break
            except OSError:
                self.broken = True
                return len(view)
        return at

    def wait(self, seconds: float) -> bool:
        """Waits until the descriptor takes bytes, at most this long."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def _ready(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        found = poll.poll(0)
        return bool(found) and bool(found[0][1] & select.POLLOUT)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._own >= 0:
            os.close(self._own)
        self._socket, self._own = None, -1


def open_standard_descriptors() -> list[int]:
    """Opens /dev/null where 0, 1 or 2 is closed, so that no file of ours gets that number. Returns those it opened."""
    opened = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            found = os.open(os.devnull, os.O_RDWR)
            if found != fd:
                os.dup2(found, fd)
                os.close(found)
            os.set_inheritable(fd, True)
            opened.append(fd)
    return opened
