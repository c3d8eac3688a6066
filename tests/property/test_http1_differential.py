"""Our parser beside llhttp: what we accept, llhttp accepts and understands as we do. Where we accept more, and where we
refuse what llhttp takes, each kind is named here with its reason."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import llhttp
from tests.support.http1_inputs import a_connection, read_requests
from tests.unit.test_http1_strictness import REFUSED

# What llhttp finds wrong with that which we pass on.
WIDER = {
    "Invalid method encountered": "any token is a method (RFC 9110 9.1), to llhttp only those it knows",
    "Expected space after method": "likewise, where a method begins as one that llhttp knows",
    "Invalid char in url path": "a target is delivered byte for byte, also bytes above 127",
    "Invalid char in url query": "likewise",
    "Invalid char in url fragment start": "likewise",
    "Invalid char in url fragment": "likewise",
}
# Our reasons for refusing what llhttp takes.
STRICTER = {
    "bad_request_line": "llhttp looks for a CONNECT's authority across further spaces and lines",
    "bad_target": "llhttp does not ask which method a target belongs to, nor whether its authority is one",
    "bad_version": "llhttp reads RTSP as well",
    "unsupported_version": "llhttp reads HTTP/0.9 and 2.0 as if they were 1.x",
    "bad_host": "llhttp does not look at Host",
    "bad_connection": "llhttp does not look at options it does not know",
    "expectation_failed": "llhttp does not look at Expect",
    "bad_content_length": "llhttp reads numbers up to 2**64",
    "bad_transfer_encoding": "llhttp reads chunked after other codings, twice, and on HTTP/1.0",
    "bad-chunk": "llhttp reads sizes of any number of digits, if enough of them are zeros",
}


def check(data: bytes) -> None:
    ours, reason = read_requests(data)
    theirs, fault = llhttp.read_requests(data)
    for mine, other in zip(ours, theirs, strict=False):
        assert (mine.method, mine.target, mine.version) == (other.method, other.target, other.version)
        assert mine.fields == [(name, value.strip(b" \t")) for name, value in other.fields]
        # "close" beside "keep-alive" on HTTP/1.0: we close (RFC 9112 9.3), llhttp does not
        assert other.keep_alive or not mine.keep_alive
        if any(name.lower() == b"upgrade" for name, _ in mine.fields):
            return  # an Upgrade is ignored by us; llhttp gives what follows to the new protocol
        if mine.complete:
            assert other.complete and mine.body == other.body
        else:
            assert not (other.complete and reason is None)
    if len(ours) > len(theirs):
        assert fault in WIDER, fault
    elif reason is not None and fault is None and len(theirs) > len(ours):
        assert reason in STRICTER, reason


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**63))
def test_what_we_accept_llhttp_reads_the_same_way(seed: int) -> None:
    check(a_connection(Random(seed)))


@pytest.mark.parametrize("name", REFUSED)
def test_the_refused_ones_too(name: str) -> None:
    check(REFUSED[name][0])
