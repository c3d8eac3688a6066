"""Connections for the conformance suites: each test runs straight into a session and over TCP."""

from collections.abc import Iterator

import pytest

from tests.support.h2_wire import Direct, Link, Socket, Wire, server_thread


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with server_thread() as port:
        yield port


@pytest.fixture(params=["direct", "socket"])
def bare(request: pytest.FixtureRequest, port: int) -> Iterator[Wire]:
    """A connection on which nothing has been said."""
    link: Link = Direct() if request.param == "direct" else Socket(port)
    yield Wire(link)
    link.close()


@pytest.fixture
def wire(bare: Wire) -> Wire:
    """A connection past its prefaces."""
    assert not bare.start().closed
    return bare
