"""A process started by the supervisor: fork, exec, and what is known of it until it has ended."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_dispatch.boot import Boot

PR_SET_PDEATHSIG = 1


@dataclass(slots=True, eq=False)
class Child:
    role: str
    slot: int  # worker slot on the board
    generation: int
    listening: int  # set of listening sockets
    process: subprocess.Popen[bytes]
    started: int  # monotonic ns
    ready: bool = False
    ready_at: int = 0
    kill_at: int = 0  # when it will be killed if it has not ended; 0: not at all
    draining: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def name(self) -> str:
        return self.role if self.role == "scaler" else f"{self.role} {self.slot}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def start(argv: Sequence[str], boot: Boot, now: int) -> Child:
    """Starts `argv FD`; behind FD it finds its boot record. Raises OSError when that cannot be done."""
    record = boot.to_json().encode()
    read_end, write_end = os.pipe()
    try:
        # A pipe holds 64 KiB and a record is a few: it is all in there before the child exists.
        os.set_blocking(write_end, False)
        if os.write(write_end, record) != len(record):
            raise OSError(f"the boot record of {boot.role} is longer than a pipe holds: {len(record)} bytes")
        os.close(write_end)
        write_end = -1
        process = subprocess.Popen(
            [*argv, str(read_end)],
            pass_fds=[read_end, *descriptors(boot)],
            # A terminal's Ctrl-C is for the supervisor, which tells the others in order.
            process_group=0,
            # Where it was, if it crashes or has to be aborted.
            env={"PYTHONFAULTHANDLER": "1", **os.environ},
            preexec_fn=DieWithParent(os.getpid()) if sys.platform == "linux" else None,
        )
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)
    return Child(boot.role, boot.index, boot.generation, boot.listening, process, now)


def descriptors(boot: Boot) -> list[int]:
    return [
        boot.board_fd,
        boot.bell_fd,
        *boot.bells,
        boot.scaler_bell_fd,
        boot.supervisor_bell_fd,
        *boot.front_fds,
        *boot.front_tls_fds,
        *boot.control_fds,
        *boot.control_tls_fds,
        *([boot.peer_fd] if boot.peer_fd >= 0 else []),
        *(fd for _, _, fd in boot.sibling_fds),
        *(fd for fd in (boot.cert_fd, boot.key_fd) if fd >= 0),
        *([boot.trace_fd] if boot.trace_fd >= 0 else []),
        boot.life_fd,
        *([boot.settings_fd] if boot.settings_fd >= 0 else []),
    ]


class DieWithParent:
    """Between fork and exec: if the supervisor is killed, so that it cannot tell anyone, the kernel sends SIGTERM."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        self.prctl = ctypes.CDLL(None).prctl

    def __call__(self) -> None:
        self.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != self.parent:
            os._exit(1)


def python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
