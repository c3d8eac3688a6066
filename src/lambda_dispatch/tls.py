"""TLS of the listening sockets, and what a certificate must pass before it is used."""

import os
import ssl
from collections.abc import Sequence

from lambda_dispatch.errors import CertificateError

# TLS 1.2 with forward secrecy and authenticated encryption only; TLS 1.3 has nothing else. No CBC suites.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(cert_file: str, key_file: str, protocols: Sequence[str], client_ca: str = "") -> ssl.SSLContext:
    """A server's context. `client_ca`: PEM file of authorities; a client without a certificate of theirs is refused."""
    context = _loaded(cert_file, key_file, (cert_file, key_file))
    context.set_alpn_protocols(list(protocols))
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog:
        context.keylog_filename = keylog
    return context


def check(cert_file: str, key_file: str, named: tuple[str, str] | None = None) -> None:
    """Raises CertificateError unless the pair can be used; `named` is how the error calls the files."""
    _loaded(cert_file, key_file, named or (cert_file, key_file))


def check_authorities(client_ca: str) -> None:
    """Raises CertificateError unless the file holds certificates of authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if os.path.exists(client_ca) and not os.path.isfile(client_ca):
        raise CertificateError(f"ControlClientCA {client_ca} is no regular file")
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"ControlClientCA {client_ca} cannot be used: {error}") from error


def _loaded(cert_file: str, key_file: str, named: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(CIPHERS)

    def no_password() -> str:
        # Without this OpenSSL would ask on the terminal.
        raise CertificateError(f"KeyFile {named[1]} is encrypted; decrypt it: openssl pkey -in KEY -out NEW")

    try:
        context.load_cert_chain(cert_file, key_file, no_password)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"CertFile {named[0]} and KeyFile {named[1]} cannot be used: {error}") from error
    return context
