"""TLS for the listening sockets."""

import os
import ssl
from collections.abc import Sequence

from lambda_dispatch.errors import ConfigError


def server_context(cert_file: str, key_file: str, protocols: Sequence[str]) -> ssl.SSLContext:
    """A server's context; ConfigError when certificate and key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError([f"CertFile {cert_file} and KeyFile {key_file} cannot be used: {error}"]) from error
    context.set_alpn_protocols(list(protocols))
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog:
        context.keylog_filename = keylog
    return context
