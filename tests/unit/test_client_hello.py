"""The protocols a TLS client offers: those OpenSSL writes are found, and nothing that is cut off or wrong raises."""

import random
import ssl

import pytest

from lambda_dispatch.worker.client_hello import offered


def hello(*protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_what_openssl_offers_is_found() -> None:
    assert offered(hello("h2", "http/1.1")) == [b"h2", b"http/1.1"]
    assert offered(hello("acme-tls/1")) == [b"acme-tls/1"]
    assert offered(hello()) is None


def test_a_hello_that_is_cut_off_anywhere_offers_nothing() -> None:
    whole = hello("h2")
    assert {offered(whole[:n]) is None for n in range(len(whole) - 200)} == {True}


def test_no_bytes_raise() -> None:
    source = random.Random(7)
    whole = hello("h2", "http/1.1")
    for _ in range(20_000):
        broken = bytearray(whole)
        for _ in range(source.randrange(1, 6)):
            broken[source.randrange(len(broken))] = source.randrange(256)
        offered(bytes(broken[: source.randrange(len(broken) + 1)]))
