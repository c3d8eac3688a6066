"""What a worker or the scaler is handed by the supervisor: numbers of inherited descriptors, and the configuration.

A child is started as `python -m lambda_dispatch.worker FD` (or `.scaler`); behind FD lies this object as JSON. All
descriptors named here are open in the child and belong to it.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


class BootError(Exception):
    """A process was not started the way the supervisor starts it."""


@dataclass(frozen=True, slots=True)
class Boot:
    role: str  # "worker" or "scaler"
    index: int  # the worker slot on the board; 0 for the scaler
    generation: int  # of that slot
    listening: int  # which set of listening sockets, 0 … workers - 1; two processes share a set during a replacement
    workers: int  # sets of listening sockets, that is workers in normal times; the board has twice as many slots
    config: str  # RouterConfig as JSON
    board_fd: int
    bell_fd: int  # rung to wake this process
    bells: tuple[int, ...]  # every worker slot's bell, by slot
    scaler_bell_fd: int
    supervisor_bell_fd: int
    front_fds: tuple[int, ...]  # listening sockets: HTTP from clients
    front_tls_fds: tuple[int, ...]
    control_fds: tuple[int, ...]  # listening sockets: HTTP/2 from instances
    control_tls_fds: tuple[int, ...]
    sibling_fds: tuple[tuple[str, int, int], ...]  # (kind, set, descriptor) of the other sets of listening sockets
    peer_fd: int  # listening Unix socket for siblings; -1 for the scaler
    peer_addresses: tuple[str, ...]  # per worker slot: a path, or "\0name" in Linux's own space
    ports: dict[str, int]  # by http, https, control_http, control_https; 0: no such socket
    cert_fd: int  # certificate chain and key in PEM, as anonymous memory; -1: no TLS
    key_fd: int
    certificate_sha256: str  # hex, of a certificate that the router made itself; empty otherwise
    life_fd: int  # reads end of file when the supervisor is no more
    parent_pid: int
    settings_fd: int = -1  # where a changed configuration appears (lambda_dispatch.settings); -1: nowhere
    settings_number: int = 0  # of what `config` and the certificate are
    trace_fd: int = -1  # rings of traced requests; -1: nothing is traced

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise BootError("the boot record is of another release than this program")
        record: dict[str, Any] = {k: _frozen(v) for k, v in values.items()}
        return cls(**record)

    @classmethod
    def receive(cls, argv: Sequence[str]) -> Self:
        """The record behind the descriptor whose number is the one argument; the descriptor is closed."""
        if len(argv) != 1 or not (argv[0].isascii() and argv[0].isdigit()):
            raise BootError("this process is started by `lambda-dispatch router`, not by hand")
        try:
            with os.fdopen(int(argv[0]), "rb") as file:
                text = file.read()
        except OSError as error:
            raise BootError(f"no boot record at descriptor {argv[0]}: {error.strerror}") from error
        return cls.from_json(text.decode())


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
