"""What a service manager is told: systemd's protocol (sd_notify(3)), datagrams to the socket that NOTIFY_SOCKET names.

READY=1 when everything serves, RELOADING=1 and READY=1 around a reload, STOPPING=1 when the drain begins, STATUS= when
its text changes, and WATCHDOG=1 while the supervisor's loop comes round, if the manager wants that. Nothing waits:
what the manager does not take at once is lost, as it is without a manager.
"""

import socket
import time
from collections.abc import MutableMapping

# A status line is read by people; the manager cuts it anyhow.
LONGEST_STATUS = 200


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
            # Twice in the time after which the manager loses patience.
            self.period = int(period) * 1000 // 2

    @property
    def due(self) -> int | None:
        """When step() has a sign of life to give; None: never."""
        return self._due if self.period else None

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text.replace(chr(10), ' ')[:LONGEST_STATUS]}")

    def step(self, now: int) -> None:
        if self.period and now >= self._due:
            self._due = now + self.period
            self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            try:
                self._socket.send(text.encode())
            except OSError:
                pass
