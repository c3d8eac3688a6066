"""The router's certificate, kept by the supervisor for its workers.

The files are read when a worker is started and on a reload. What cannot be used is reported, and
the last good pair stays in use: a file that was removed or half written never leaves a port without a worker. Workers
get the pair as anonymous memory by descriptor; the private key is written to no disk.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.errors import CertificateError
from lambda_dispatch.supervisor import self_signed
from lambda_dispatch.telemetry import log
from lambda_dispatch.tls import check


class Certificate:
    def __init__(self, config: RouterConfig) -> None:
        """Raises CertificateError when there is a pair that cannot be used."""
        self._files = (Path(config.cert_file), Path(config.key_file)) if config.cert_file else None
        self._pair: tuple[bytes, bytes] | None = None
        self._fds = (-1, -1)
        self.sha256 = ""  # of a self-signed certificate, in hex: instances may insist on it
        if self._files is not None:
            self._keep(self._read(*self._files))
        elif config.self_signed:
            made = self_signed.make()
            self.sha256 = made.sha256
            self._keep((made.certificate, made.key))
            log.info("certificate created", kind="self-signed", sha256=made.sha256)

    @property
    def pair(self) -> tuple[bytes, bytes] | None:
        """Chain and key in PEM, as they are in use."""
        return self._pair

    def descriptors(self) -> tuple[int, int]:
        """Certificate and key for a worker that is about to start; -1 where there is no TLS."""
        self.renew()
        return self._fds

    def move(self, config: RouterConfig) -> None:
        """Other files from now on; TLS is not turned on or off by that."""
        if self._files is not None and config.cert_file:
            self._files = (Path(config.cert_file), Path(config.key_file))

    def renew(self) -> bool:
        """Reads the files again; whether there is a new pair."""
        if self._files is not None:
            try:
                pair = self._read(*self._files)
            except CertificateError as error:
                log.error("certificate reload failed", error=str(error), action="the last good one stays in use")
            else:
                if pair != self._pair:
                    self._keep(pair)
                    log.info("certificate reloaded", file=str(self._files[0]))
                    return True
        return False

    def _read(self, certificate: Path, key: Path) -> tuple[bytes, bytes]:
        try:
            pair = certificate.read_bytes(), key.read_bytes()
        except OSError as error:
            raise CertificateError(f"CertFile {certificate} and KeyFile {key} cannot be used: {error}") from error
        with _memory(pair) as fds:
            check(f"/proc/self/fd/{fds[0]}", f"/proc/self/fd/{fds[1]}", (str(certificate), str(key)))
        return pair

    def _keep(self, pair: tuple[bytes, bytes]) -> None:
        self.close()
        self._pair = pair
        self._fds = (_memfd(pair[0]), _memfd(pair[1]))

    def close(self) -> None:
        for fd in self._fds:
            if fd >= 0:
                os.close(fd)
        self._fds = (-1, -1)


def _memfd(content: bytes) -> int:
    fd = os.memfd_create("certificate")
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    return fd


@contextlib.contextmanager
def _memory(pair: tuple[bytes, bytes]) -> Iterator[tuple[int, int]]:
    fds = _memfd(pair[0]), _memfd(pair[1])
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)
