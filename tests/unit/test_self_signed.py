"""The certificate that the router makes itself, as OpenSSL and Python's ssl see it."""

import hashlib
import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lambda_dispatch.supervisor import self_signed
from lambda_dispatch.tls import server_context


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(wires[0], wires[1], server_side=True)
    theirs = client.wrap_bio(wires[1], wires[0], server_hostname="localhost")
    done = set()
    while len(done) < 2:
        for side in (theirs, ours):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    return ours, theirs


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, self_signed.Made]:
    made = self_signed.make()
    (tmp_path / "c").write_bytes(made.certificate)
    (tmp_path / "k").write_bytes(made.key)
    return tmp_path / "c", tmp_path / "k", made


def test_a_client_that_trusts_it_completes_the_handshake(files: tuple[Path, Path, self_signed.Made]) -> None:
    cert, key, made = files
    client = ssl.create_default_context(cafile=str(cert))
    client.set_alpn_protocols(["h2"])
    ours, theirs = handshake(client, server_context(str(cert), str(key), ["h2"]))
    assert theirs.version() == "TLSv1.3" and ours.selected_alpn_protocol() == "h2"
    seen = theirs.getpeercert(binary_form=True)
    assert seen is not None and hashlib.sha256(seen).hexdigest() == made.sha256


def test_suites_of_tls_1_2_have_forward_secrecy_and_no_cbc(files: tuple[Path, Path, self_signed.Made]) -> None:
    cert, key, _ = files
    names = [suite["name"] for suite in server_context(str(cert), str(key), ["h2"]).get_ciphers()]
    assert names
    assert all("GCM" in name or "CHACHA20" in name for name in names)
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)


@pytest.mark.parametrize("year", [2049, 2050])
def test_times_before_and_after_2050(year: int, tmp_path: Path) -> None:
    made = self_signed.make(datetime(year - 10, 6, 1, tzinfo=UTC))
    (tmp_path / "c").write_bytes(made.certificate)
    found = ssl._ssl._test_decode_cert(str(tmp_path / "c"))  # type: ignore[attr-defined]
    assert str(year) in found["notAfter"]
    assert found["subjectAltName"] == (("DNS", "localhost"),)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_verifies_signature_and_key(files: tuple[Path, Path, self_signed.Made]) -> None:
    cert, key, _ = files
    for argv in (["verify", "-CAfile", str(cert), str(cert)], ["pkey", "-in", str(key), "-check", "-noout"]):
        ran = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
