"""What the supervisor's children take from it while they run: the configuration, and the certificate with its key.

It lies in anonymous memory that every child has open. The supervisor writes it whole when a reload changes something;
each child looks at the number on its tick. By byte, little endian:

    0   u64  number, from 1; grows with each change
    8   u32  length of the document
    12  u32  CRC-32 of the document
    16       the document: JSON with "config" (RouterConfig.to_json), "certificate" and "key" (PEM)

A child that reads while it is written finds a wrong sum, and looks again on its next tick.
"""

import json
import os
import struct
import zlib
from typing import NamedTuple

from lambda_dispatch.config import RouterConfig

HEAD = struct.Struct("<QII")
# Twice the longest configuration and certificate chains that anybody uses.
LONGEST = 1 << 20


class Document(NamedTuple):
    config: RouterConfig
    certificate: str  # PEM; empty without TLS
    key: str


class Writer:
    """The supervisor's side."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("settings")
        self.number = 0

    def write(self, config: RouterConfig, pair: tuple[bytes, bytes] | None) -> None:
        certificate, key = pair or (b"", b"")
        text = json.dumps({"config": config.to_json(), "certificate": certificate.decode(), "key": key.decode()})
        body = text.encode()
        if len(body) > LONGEST:
            raise ValueError(f"configuration and certificate are {len(body)} bytes; at most {LONGEST} can be reloaded")
        self.number += 1
        os.pwrite(self.fd, body, HEAD.size)
        os.pwrite(self.fd, HEAD.pack(self.number, len(body), zlib.crc32(body)), 0)

    def close(self) -> None:
        os.close(self.fd)


class Reader:
    """A child's side; `number` is that of the configuration it was started with."""

    def __init__(self, fd: int, number: int) -> None:
        self._fd = fd
        self._number = number

    def news(self) -> Document | None:
        """What is new since the last call, if anything is."""
        if self._fd < 0:
            return None
        head = os.pread(self._fd, HEAD.size, 0)
        if len(head) < HEAD.size:
            return None  # nothing was ever changed
        number, length, checksum = HEAD.unpack(head)
        if number == self._number or length > LONGEST:
            return None
        body = os.pread(self._fd, length, HEAD.size)
        if zlib.crc32(body) != checksum:
            return None
        self._number = number
        found = json.loads(body)
        return Document(RouterConfig.from_json(found["config"]), found["certificate"], found["key"])
