"""Messages to a service manager: systemd's protocol (sd_notify(3)), datagrams to the socket that NOTIFY_SOCKET names.

READY=1 when everything serves, RELOADING=1 and READY=1 around a reload, STOPPING=1 when the drain begins, STATUS= when
its text changes, and WATCHDOG=1 while the supervisor's loop comes round, if the manager wants that. Nothing blocks:
while the manager's queue is full, the changes of state are held and sent again, in their order.
"""

import socket
import time
from collections import deque
from collections.abc import MutableMapping

# A status line is read by people; the manager cuts it anyhow.
LONGEST_STATUS = 200
# Changes of state that are held; beyond that the oldest are dropped.
MOST_HELD = 8
# ns until they are sent again. The kernel sends no event when another socket's queue has room.
SEND_AGAIN = 100_000_000


class Notifier:
    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        """Takes the manager's variables out of the environment: they are not for children."""
        address = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        for_whom = environ.pop("WATCHDOG_PID", "")
        self._socket: socket.socket | None = None
        self._status = ""
        self.period = 0  # ns between two signs of life; 0: none are wanted
        self._due = 0
        self._held: deque[str] = deque(maxlen=MOST_HELD)
        self._again_at = 0  # when they are sent again
        if address[:1] not in ("/", "@"):
            return  # no manager, or a kind of address that is not a Unix socket's
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            sock.close()
            return
        self._socket = sock
        if period.isascii() and period.isdigit() and len(period) < 19 and for_whom in ("", str(pid)):
            # Twice in the time after which the manager ends the router.
            self.period = int(period) * 1000 // 2

    @property
    def due(self) -> int | None:
        """When step() has something to send; None: not before a change."""
        times = [self._due] if self.period else []
        return min([*times, self._again_at] if self._held else times, default=None)

    def ready(self) -> None:
        self._change("READY=1")

    def reloading(self) -> None:
        self._change(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._change("STOPPING=1")

    def status(self, text: str) -> None:
        """Called every second: one that was not taken is sent with the next call."""
        if text != self._status and self._send(f"STATUS={text.replace(chr(10), ' ')[:LONGEST_STATUS]}"):
            self._status = text

    def step(self, now: int) -> None:
        if self._held and now >= self._again_at:
            self._send_held(now)
        if self.period and now >= self._due:
            self._due = now + self.period
            self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _change(self, text: str) -> None:
        self._held.append(text)
        self._send_held(time.monotonic_ns())

    def _send_held(self, now: int) -> None:
        while self._held and self._send(self._held[0]):
            self._held.popleft()
        self._again_at = now + SEND_AGAIN

    def _send(self, text: str) -> bool:
        """False: the manager's queue is full."""
        if self._socket is not None:
            try:
                self._socket.send(text.encode())
            except BlockingIOError:
                return False
            except OSError:
                pass  # there is no manager any more
        return True
