"""The strict dialect: what the front door takes from a client, and what it refuses."""

from lambda_dispatch_core.http1_face import read_request

PLAIN = b"POST /a?b=%25&c=[+]//\xff HTTP/1.1\r\nHost: example.com:8080\r\nX-Empty:\r\nX-Text: \t one\ttwo\xe9 \r\n\r\n"


def test_a_whole_head_yields_its_parts_as_they_were_written() -> None:
    parsed = read_request(PLAIN + b"the body")
    assert parsed is not None
    length, head, fields = parsed
    assert length == len(PLAIN)
    assert head["method"] == b"POST"
    assert head["target"] == b"/a?b=%25&c=[+]//\xff"
    assert fields == [(b"Host", b"example.com:8080"), (b"X-Empty", b""), (b"X-Text", b"one\ttwo\xe9")]


def test_every_prefix_of_a_head_is_not_yet_a_head() -> None:
    assert [read_request(PLAIN[:n]) for n in range(len(PLAIN))] == [None] * len(PLAIN)
