"""Certificates made for one test run by the openssl command: nothing secret is kept in the tree."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    cert: Path
    key: Path

    def client_context(self, *protocols: str) -> ssl.SSLContext:
        """Trusts this certificate alone."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def make(folder: Path, name: str = "localhost", stem: str = "test") -> Pair:
    pair = Pair(folder / f"{stem}.crt", folder / f"{stem}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", str(pair.key), "-out", str(pair.cert), "-days", "2", "-subj", f"/CN={name}"]
        + ["-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    pair.key.chmod(0o644)  # a router out of its image's root is another user
    return pair
