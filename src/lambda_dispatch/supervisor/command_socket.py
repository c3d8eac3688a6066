"""The Unix socket on which the supervisor takes commands: `lambda-dispatch ctl` and the admin process speak to it.

One JSON object per line, and one per line back. Only processes of this user and root are heard (the socket lies in a
directory of this user's alone and asks the kernel who calls). Nothing here waits: the supervisor's loop calls serve()
when it wakes. One command is carried out at a time; its answer waits until the scaler has taken it up.
"""

import json
import os
import select
import socket
import struct
import sys
from typing import Any

from lambda_dispatch.supervisor.operator import Done, Operator, Refused
from lambda_dispatch.telemetry import log

MAX_CALLERS = 16
MAX_COMMAND = 4096  # bytes of a line
IDLE = 10 * 1_000_000_000  # ns that a caller may take to send a command, or to read the answer
PATIENCE = 1_000_000_000  # ns that an answer waits for the scaler, which may be dead


class Caller:
    def __init__(self, sock: socket.socket, now: int) -> None:
        self.sock = sock
        self.since = now
        self.received = b""
        self.unsent = b""
        self.waits: Done | None = None
        self.answer_by = 0


class CommandSocket:
    def __init__(self, sock: socket.socket, operator: Operator, poll: select.poll) -> None:
        self._sock = sock
        self._operator = operator
        self._poll = poll
        self._callers: list[Caller] = []
        poll.register(sock, select.POLLIN)

    def close(self) -> None:
        for caller in list(self._callers):
            self._drop(caller)

    @property
    def due(self) -> int | None:
        return min((it.answer_by if it.waits else it.since + IDLE for it in self._callers), default=None)

    def serve(self, now: int) -> None:
        self._serve_all(now)
        self._accept(now)
        self._serve_all(now)

    def _serve_all(self, now: int) -> None:
        # A caller whose command had to wait for another's comes to its turn in the second round.
        for _ in range(1 + len(self._callers)):
            for caller in list(self._callers):
                try:
                    self._serve(caller, now)
                except OSError:
                    self._drop(caller)
            if any(it.waits for it in self._callers) or not any(b"\n" in it.received for it in self._callers):
                return

    def _accept(self, now: int) -> None:
        while True:
            try:
                sock = self._sock.accept()[0]
            except OSError:
                return
            if len(self._callers) >= MAX_CALLERS:
                self._serve_all(now)  # some may have gone before this one came
            uid = _uid(sock)
            if uid not in (0, os.geteuid()):
                log.limited(log.WARNING, "command refused", reason="the caller is another user", uid=uid)
                sock.close()
            elif len(self._callers) >= MAX_CALLERS:
                sock.close()
            else:
                sock.setblocking(False)
                self._poll.register(sock, select.POLLIN)
                self._callers.append(Caller(sock, now))

    def _serve(self, caller: Caller, now: int) -> None:
        if caller.unsent:
            self._send(caller)
        if caller.waits is not None and (self._operator.taken(caller.waits) or now >= caller.answer_by):
            self._answer(caller, caller.waits, now)
        if now - caller.since >= IDLE:
            self._drop(caller)
            return
        # One command at a time, so that the scaler sees each.
        while caller.waits is None and not caller.unsent:
            line, found, rest = caller.received.partition(b"\n")
            if found:
                if any(other.waits for other in self._callers):
                    return
                caller.received = rest
                self._command(caller, line, now)
                continue
            if len(caller.received) > MAX_COMMAND:
                self._refuse(caller, 413, f"a command is one line of at most {MAX_COMMAND} bytes")
                self._drop(caller)
                return
            try:
                data = caller.sock.recv(MAX_COMMAND + 1 - len(caller.received))
            except BlockingIOError:
                return
            if not data:
                self._drop(caller)
                return
            caller.received += data

    def _command(self, caller: Caller, line: bytes, now: int) -> None:
        caller.since = now
        try:
            command = json.loads(line)
        except (ValueError, RecursionError):
            command = None
        if not isinstance(command, dict):
            self._refuse(caller, 400, "a command is one JSON object on one line")
            return
        try:
            done = self._operator.carry_out(command, now)
        except Refused as refused:
            log.info("command refused", op=str(command.get("op"))[:40], reason=str(refused))
            self._refuse(caller, refused.status, str(refused))
            return
        self._operator.changed()
        if self._operator.taken(done):
            self._answer(caller, done, now)
        else:
            caller.waits, caller.answer_by = done, now + PATIENCE

    def _answer(self, caller: Caller, done: Done, now: int) -> None:
        shown = {"ok": True, "changed": done.changed, "taken_up": self._operator.taken(done)}
        caller.waits = None
        self._write(caller, {**shown, **done.more, **self._operator.state(done, now)})

    def _refuse(self, caller: Caller, status: int, why: str) -> None:
        self._write(caller, {"ok": False, "status": status, "error": why})

    def _write(self, caller: Caller, document: dict[str, Any]) -> None:
        caller.unsent += json.dumps(document, separators=(",", ":")).encode() + b"\n"
        self._send(caller)

    def _send(self, caller: Caller) -> None:
        try:
            caller.unsent = caller.unsent[caller.sock.send(caller.unsent) :]
        except BlockingIOError:
            pass
        self._poll.modify(caller.sock, select.POLLIN | select.POLLOUT if caller.unsent else select.POLLIN)

    def _drop(self, caller: Caller) -> None:
        if caller in self._callers:
            self._callers.remove(caller)
            self._poll.unregister(caller.sock)
            caller.sock.close()


def _uid(sock: socket.socket) -> int:
    """Who calls, as the kernel knows; -1 where it does not say."""
    if sys.platform != "linux":
        return os.geteuid()  # the directory keeps others out
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", data)[1])
