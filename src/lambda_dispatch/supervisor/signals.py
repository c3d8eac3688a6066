"""Signals as a queue: a handler only writes the number into a pipe, and the loop reads it when it has time."""

import os
import signal
from types import FrameType

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


def _written_by_the_interpreter(_number: int, _frame: FrameType | None) -> None:
    # Without a Python handler the default action would be taken; the number itself goes through set_wakeup_fd.
    pass


class SignalQueue:
    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        for fd in (self.fd, self._write_fd):
            os.set_blocking(fd, False)
        self._before = {number: signal.signal(number, _written_by_the_interpreter) for number in HANDLED}
        # When the pipe is full, 64 KiB of signals wait already; one more says nothing new.
        self._before_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def take(self) -> list[signal.Signals]:
        try:
            return [signal.Signals(number) for number in os.read(self.fd, 65536)]
        except BlockingIOError:
            return []

    def close(self) -> None:
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._write_fd)
