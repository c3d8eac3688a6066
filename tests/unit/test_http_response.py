"""The reader of responses under our small HTTP/1.1 clients."""

import pytest

from lambda_dispatch_net.http_response import BadResponse, ResponseReader

HEAD = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, *, step: int = 0, **more: bool) -> ResponseReader:
    reader = ResponseReader(most_head=100, most_body=10, **more)
    for at in range(0, len(data), step or len(data)):
        reader.feed(data[at : at + (step or len(data))])
    return reader


@pytest.mark.parametrize("step", [0, 1, 7])
def test_an_interim_response_is_passed_over(step: int) -> None:
    reader = read(
        b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + HEAD + b"C: d\r\nContent-Length: 2\r\n\r\nhi", step=step
    )
    assert (reader.done, reader.status, bytes(reader.body)) == (True, 200, b"hi")
    assert reader.headers == [("c", "d"), ("content-length", "2")] and reader.keep_alive


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = read(HEAD + b"\r\nhi")
    assert not reader.done
    assert reader.end() and bytes(reader.body) == b"hi"


def test_a_body_with_a_length_that_breaks_off_is_not_whole() -> None:
    assert not read(HEAD + b"Content-Length: 5\r\n\r\nhi").end()
    assert not ResponseReader(most_head=1, most_body=1).end()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not an HTTP/1.1 response"),
        (HEAD + b"A: " + b"b" * 100 + b"\r\n\r\n", "head is over 100 bytes"),
        (HEAD + b"Content-Length: 11\r\n\r\n" + b"x" * 11, "body is over 10 bytes"),
    ],
)
def test_what_is_no_response_or_too_large_is_named(data: bytes, said: str) -> None:
    with pytest.raises(BadResponse, match=said):
        read(data)


def test_a_body_may_be_cut_to_the_limit_and_is_read_to_its_end() -> None:
    reader = read(HEAD + b"Content-Length: 11\r\n\r\n" + b"x" * 11, cut_body=True)
    assert reader.done and bytes(reader.body) == b"x" * 10


def test_the_answer_to_head_ends_with_its_head() -> None:
    assert read(HEAD + b"Content-Length: 11\r\n\r\n", bodyless=True).done
