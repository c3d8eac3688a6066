"""What the front door refuses: each way of being wrong by name, with the reason and the status it is told."""

from typing import Any

import pytest

from lambda_dispatch_testing.http1_face import ChunkedBody, HeadRefused, read_request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

REFUSED: dict[str, tuple[bytes, str, int]] = {
    # the request line: method
    "a line that begins with a space": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a line that begins with a tab": (b"\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a method with a comma": (b"GE,T / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a method with a colon": (b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a method with a slash": (b"GET/ / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a method in quotes": (b'"GET" / HTTP/1.1\r\nHost: a\r\n\r\n', "bad_method", 400),
    "a method with a NUL": (b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a method with a byte above 127": (b"G\xc9T / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a method and nothing else": (b"GET\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a method that ends in a tab": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "bad_method", 400),
    # the request line: spaces and line ends
    "two spaces after the method": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "two spaces before the version": (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a tab before the version": (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a space after the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a tab after the version": (b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", "bad_version", 400),
    "words after the version": (b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a request line that ends in a bare LF": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bad_line_end", 400),
    "a request line that ends in a bare CR": (b"GET / HTTP/1.1\rHost: a\r\n\r\n", "bad_line_end", 400),
    "a request line that ends in CR CR LF": (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "bad_line_end", 400),
    "a bare LF before the request": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a bare CR before the request": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "five empty lines before the request": (b"\r\n" * 5 + GET + b"\r\n", "bad_request_line", 400),
    # the request line: target
    "an empty target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a target with a space": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a target with a NUL": (b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target with a DEL": (b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target with a vertical tab": (b"GET /a\x0bb HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target with an escape": (b"GET /\x1b[0m HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target with a bare LF": (b"GET /a\nb HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
    "a target without a slash": (b"GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target that is a query": (b"GET ?a=b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target of another scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target of scheme file": (b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "a target with one slash after the scheme": (b"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "an absolute target without a host": (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "an absolute target with a user": (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "an absolute target with a bad port": (b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "an absolute target of another host": (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_host", 400),
    "an absolute target of another port": (b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_host", 400),
    "an asterisk that GET asks for": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "two asterisks": (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "an authority that GET asks for": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "CONNECT to a path": (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "CONNECT to a URI": (b"CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "CONNECT without a port": (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "CONNECT with an empty port": (b"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    "CONNECT to an address without a port": (b"CONNECT [::1] HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
    # the request line: version
    "no version, as in HTTP/0.9": (b"GET /\r\n\r\n", "bad_request_line", 400),
    "version 0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "unsupported_version", 505),
    "version 1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "unsupported_version", 505),
    "version 2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "unsupported_version", 505),
    "version 3.0": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "unsupported_version", 505),
    "a version without a minor number": (b"GET / HTTP/1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version with an empty minor number": (b"GET / HTTP/1.\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version with a long major number": (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version with a long minor number": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version with a comma": (b"GET / HTTP/1,1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version in lower case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version in mixed case": (b"GET / Http/1.1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version of another protocol": (b"GET / RTSP/1.1\r\nHost: a\r\n\r\n", "bad_version", 400),
    "a version with a space inside": (b"GET / HTTP /1.1\r\nHost: a\r\n\r\n", "bad_version", 400),
    # fields: names
    "a space before the colon": (GET + b"X : y\r\n\r\n", "bad_field_name", 400),
    "a tab before the colon": (GET + b"X\t: y\r\n\r\n", "bad_field_name", 400),
    "a space before the colon of Content-Length": (POST + b"Content-Length : 1\r\n\r\n", "bad_field_name", 400),
    "a space before the colon of Transfer-Encoding": (
        POST + b"Transfer-Encoding : chunked\r\n\r\n",
        "bad_field_name",
        400,
    ),
    "a space inside a name": (GET + b"X Y: z\r\n\r\n", "bad_field_name", 400),
    "an empty name": (GET + b": y\r\n\r\n", "bad_field_name", 400),
    "a field without a colon": (GET + b"X\r\n\r\n", "bad_field_name", 400),
    "a name with a NUL": (GET + b"X\0: y\r\n\r\n", "bad_field_name", 400),
    "a name with a slash": (GET + b"X/Y: z\r\n\r\n", "bad_field_name", 400),
    "a name with a byte above 127": (GET + b"X\xff: y\r\n\r\n", "bad_field_name", 400),
    "a name with a bare CR": (GET + b"X\rY: z\r\n\r\n", "bad_field_name", 400),
    "a name in brackets": (GET + b"(X): y\r\n\r\n", "bad_field_name", 400),
    # fields: values and line ends
    "a value with a NUL": (GET + b"X: a\0b\r\n\r\n", "bad_field_value", 400),
    "a value with a bell": (GET + b"X: a\x07b\r\n\r\n", "bad_field_value", 400),
    "a value with an escape": (GET + b"X: \x1b[31m\r\n\r\n", "bad_field_value", 400),
    "a value with a DEL": (GET + b"X: a\x7fb\r\n\r\n", "bad_field_value", 400),
    "a value with a form feed": (GET + b"X: a\x0cb\r\n\r\n", "bad_field_value", 400),
    "a value with a control byte after eight good ones": (GET + b"X: abcdefgh\x01\r\n\r\n", "bad_field_value", 400),
    "a value with a bare CR": (GET + b"X: a\rY: b\r\n\r\n", "bad_line_end", 400),
    "a value that ends in CR CR LF": (GET + b"X: a\r\r\n\r\n", "bad_line_end", 400),
    "a value that ends in a bare LF": (GET + b"X: a\nY: b\r\n\r\n", "bad_line_end", 400),
    "an empty line of a bare LF": (GET + b"\n", "bad_line_end", 400),
    "an empty line of a bare CR": (GET + b"\rx", "bad_line_end", 400),
    "a whole head with bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", "bad_line_end", 400),
    "a folded value": (GET + b"X: a\r\n b\r\n\r\n", "folded_field", 400),
    "a value folded with a tab": (GET + b"X: a\r\n\tb\r\n\r\n", "folded_field", 400),
    "a fold before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded_field", 400),
    "a folded line that is all space": (GET + b"X: a\r\n \r\n\r\n", "folded_field", 400),
    "a folded Transfer-Encoding": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n", "bad_transfer_encoding", 400),
    # Content-Length
    "a length with a plus": (POST + b"Content-Length: +5\r\n\r\n", "bad_content_length", 400),
    "a length with a minus": (POST + b"Content-Length: -5\r\n\r\n", "bad_content_length", 400),
    "a negative zero": (POST + b"Content-Length: -0\r\n\r\n", "bad_content_length", 400),
    "a length in hexadecimal": (POST + b"Content-Length: 0x5\r\n\r\n", "bad_content_length", 400),
    "a length with hexadecimal digits": (POST + b"Content-Length: 1f\r\n\r\n", "bad_content_length", 400),
    "a length with an underscore": (POST + b"Content-Length: 1_0\r\n\r\n", "bad_content_length", 400),
    "a length with a space inside": (POST + b"Content-Length: 1 0\r\n\r\n", "bad_content_length", 400),
    "a length with a tab inside": (POST + b"Content-Length: 1\t0\r\n\r\n", "bad_content_length", 400),
    "a length with a fraction": (POST + b"Content-Length: 5.0\r\n\r\n", "bad_content_length", 400),
    "a length with an exponent": (POST + b"Content-Length: 1e3\r\n\r\n", "bad_content_length", 400),
    "a length in quotes": (POST + b'Content-Length: "5"\r\n\r\n', "bad_content_length", 400),
    "a length with words after it": (POST + b"Content-Length: 5 bytes\r\n\r\n", "bad_content_length", 400),
    "a length in other digits": (POST + b"Content-Length: \xd9\xa5\r\n\r\n", "bad_content_length", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\n", "bad_content_length", 400),
    "a length of 2**63": (POST + b"Content-Length: 9223372036854775808\r\n\r\n", "bad_content_length", 400),
    "a length of 2**64 + 5": (POST + b"Content-Length: 18446744073709551621\r\n\r\n", "bad_content_length", 400),
    "a length of 200 digits": (POST + b"Content-Length: " + b"9" * 200 + b"\r\n\r\n", "bad_content_length", 400),
    "two lengths that differ": (
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "bad_content_length",
        400,
    ),
    "two lengths that are the same": (
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "bad_content_length",
        400,
    ),
    "two lengths, one in capitals": (
        POST + b"content-length: 5\r\nX: y\r\nCONTENT-LENGTH: 6\r\n\r\n",
        "bad_content_length",
        400,
    ),
    "a list of lengths that differ": (POST + b"Content-Length: 5, 6\r\n\r\n", "bad_content_length", 400),
    "a list of lengths that are the same": (POST + b"Content-Length: 5, 5\r\n\r\n", "bad_content_length", 400),
    "a length with a comma after it": (POST + b"Content-Length: 5,\r\n\r\n", "bad_content_length", 400),
    "a length with a semicolon after it": (POST + b"Content-Length: 5;\r\n\r\n", "bad_content_length", 400),
    # Transfer-Encoding
    "length and encoding": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "length_and_encoding",
        400,
    ),
    "encoding and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "length_and_encoding",
        400,
    ),
    "encoding and length zero": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        "length_and_encoding",
        400,
    ),
    "encoding gzip": (POST + b"Transfer-Encoding: gzip\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding chunked, gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding chunked, identity": (
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        "bad_transfer_encoding",
        400,
    ),
    "encoding chunked twice in a list": (
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        "bad_transfer_encoding",
        400,
    ),
    "encoding chunked in two fields": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "bad_transfer_encoding",
        400,
    ),
    "encoding identity and chunked in two fields": (
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
        "bad_transfer_encoding",
        400,
    ),
    "encoding xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding chunkedx": (POST + b"Transfer-Encoding: chunkedx\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding chunked with a parameter": (
        POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n",
        "bad_transfer_encoding",
        400,
    ),
    "encoding chunked with a comma": (POST + b"Transfer-Encoding: chunked,\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding chunked in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n', "bad_transfer_encoding", 400),
    "encoding chunked after a vertical tab": (
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
        "bad_field_value",
        400,
    ),
    "an empty encoding": (POST + b"Transfer-Encoding:\r\n\r\n", "bad_transfer_encoding", 400),
    "encoding on HTTP/1.0": (
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "bad_transfer_encoding",
        400,
    ),
    # Host
    "no host": (b"GET / HTTP/1.1\r\n\r\n", "bad_host", 400),
    "no host but other fields": (b"GET / HTTP/1.1\r\nX: y\r\n\r\n", "bad_host", 400),
    "no host with an absolute target": (b"GET http://a/ HTTP/1.1\r\n\r\n", "bad_host", 400),
    "two hosts": (GET + b"Host: b\r\n\r\n", "bad_host", 400),
    "the same host twice": (GET + b"Host: a\r\n\r\n", "bad_host", 400),
    "two hosts on HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "bad_host", 400),
    "an empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "bad_host", 400),
    "a host that is a port": (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "bad_host", 400),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad_host", 400),
    "a host with a slash": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad_host", 400),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "bad_host", 400),
    "a host with a comma": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "bad_host", 400),
    "a host with a query": (b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", "bad_host", 400),
    "a host with a backslash": (b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", "bad_host", 400),
    "a host that is a URI": (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", "bad_host", 400),
    "a host with a byte above 127": (b"GET / HTTP/1.1\r\nHost: b\xfccher.de\r\n\r\n", "bad_host", 400),
    "a host with half an escape": (b"GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", "bad_host", 400),
    "a host with a port of letters": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "bad_host", 400),
    "a host with port 65536": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "bad_host", 400),
    "a host with a signed port": (b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", "bad_host", 400),
    "a host with two ports": (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", "bad_host", 400),
    "an address without brackets": (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "bad_host", 400),
    "an address that is not closed": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "bad_host", 400),
    "an address with words after it": (b"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", "bad_host", 400),
    "an empty address": (b"GET / HTTP/1.1\r\nHost: []\r\n\r\n", "bad_host", 400),
    # Connection and Expect
    "a connection option that is no token": (GET + b"Connection: a b\r\n\r\n", "bad_connection", 400),
    "a connection option in quotes": (GET + b'Connection: "close"\r\n\r\n', "bad_connection", 400),
    "a connection option that would remove the host": (GET + b"Connection: close, Host\r\n\r\n", "bad_connection", 400),
    "a connection option that would remove the length": (
        POST + b"Content-Length: 5\r\nConnection: content-length\r\n\r\n",
        "bad_connection",
        400,
    ),
    "an unknown expectation": (POST + b"Expect: a-miracle\r\n\r\n", "expectation_failed", 417),
    "an expectation and another": (POST + b"Expect: 100-continue, x\r\n\r\n", "expectation_failed", 417),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data, reason, status = REFUSED[name]
    with pytest.raises(HeadRefused) as refused:
        read_request(data)
    assert (refused.value.reason, refused.value.status) == (reason, status)


@pytest.mark.parametrize("name", REFUSED)
def test_a_part_of_what_is_refused_is_refused_for_the_same_reason_or_waited_for(name: str) -> None:
    data, reason, _ = REFUSED[name]
    verdicts = []
    for n in range(len(data) + 1):
        try:
            assert read_request(data[:n]) is None
            verdicts.append("wait")
        except HeadRefused as refused:
            verdicts.append(refused.reason)
    first = verdicts.index(reason)
    assert verdicts == ["wait"] * first + [reason] * (len(verdicts) - first)


def test_the_list_is_as_long_as_it_should_be() -> None:
    assert len(REFUSED) + len(BAD_CHUNKS) >= 100


LONG = b"x" * 200


@pytest.mark.parametrize(
    ("data", "limits", "reason", "status"),
    [
        pytest.param(b"GET /" + LONG + b" HTTP/1.1\r\n", {"line": 213}, "line_too_long", 414, id="a line of 214"),
        pytest.param(b"GET /" + LONG * 2, {"line": 213}, "line_too_long", 414, id="a line without an end"),
        pytest.param(b"A" * 300, {"line": 213}, "line_too_long", 414, id="a method without an end"),
        pytest.param(GET + b"X: " + LONG, {"head": 200}, "head_too_large", 431, id="a value without an end"),
        pytest.param(GET + LONG + b": y", {"head": 200}, "head_too_large", 431, id="a name without an end"),
        pytest.param(GET + b"X: y\r\n\r\n", {"head": 31}, "head_too_large", 431, id="a head of 33, 31 allowed"),
        pytest.param(GET + b"A: b\r\nC: d\r\n\r\n", {"fields": 2}, "too_many_fields", 431, id="three fields"),
        pytest.param(GET, {"fields": 0}, "too_many_fields", 431, id="one field, none allowed"),
    ],
)
def test_refused_for_its_size(data: bytes, limits: dict[str, Any], reason: str, status: int) -> None:
    with pytest.raises(HeadRefused) as refused:
        read_request(data, **limits)
    assert (refused.value.reason, refused.value.status) == (reason, status)


def test_a_head_that_fills_its_limit_without_an_end_is_not_waited_for() -> None:
    assert read_request(GET, head=len(GET) + 1) is None
    with pytest.raises(HeadRefused, match="head_too_large"):
        read_request(GET, head=len(GET))


def test_a_line_is_measured_without_its_end_whichever_end_that_is() -> None:
    for end in (b"\n", b"\r\n"):
        data = b"GET /" + LONG + b" HTTP/1.1" + end + end
        assert read_request(data, tunnel=True, line=214) is not None
        with pytest.raises(HeadRefused, match="line_too_long"):
            read_request(data, tunnel=True, line=213)


def test_each_limit_is_the_last_size_that_passes() -> None:
    head = b"GET /" + LONG + b" HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    assert read_request(head, line=214, head=len(head), fields=2) is not None


BAD_CHUNKS: dict[str, bytes] = {
    "a size that is missing": b"\r\nhello\r\n",
    "a size with a plus": b"+5\r\nhello\r\n",
    "a size with a minus": b"-5\r\nhello\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n",
    "a size with an underscore": b"1_0\r\n",
    "a size with a space before it": b" 5\r\nhello\r\n",
    "a size with a space after it": b"5 \r\nhello\r\n",
    "a size with a tab after it": b"5\t\r\nhello\r\n",
    "a size with a letter": b"5g\r\n",
    "a size in other digits": b"\xd9\xa5\r\nhello\r\n",
    "a size with a NUL": b"5\0\r\nhello\r\n",
    "a size of 2**63": b"8000000000000000\r\n",
    "a size of 17 digits": b"00000000000000005\r\nhello\r\n",
    "a size line that ends in a bare LF": b"5\nhello\r\n",
    "a size line that ends in a bare CR": b"5\rhello\r\n",
    "a size line that ends in CR CR LF": b"5\r\r\nhello\r\n",
    "a chunk longer than its size": b"5\r\nhello!\r\n",
    "a chunk that ends in a bare LF": b"5\r\nhello\n0\r\n\r\n",
    "a chunk that ends in a bare CR": b"5\r\nhello\r0\r\n\r\n",
    "a chunk shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "an extension with a bare LF": b"5;a\nhello\r\n",
    "an extension with a bare CR": b"5;a\rb\r\nhello\r\n",
    "an extension with a NUL": b"5;a=\0\r\nhello\r\n",
    "an extension without a name": b"5;\r\nhello\r\n",
    "an extension without a value": b"5;a=\r\nhello\r\n",
    "an extension with two values": b"5;a=b=c\r\nhello\r\n",
    "an extension after a space": b"5 ;a=b\r\nhello\r\n",
    "an extension with a space": b"5; a=b\r\nhello\r\n",
    "a quoted extension that is not closed": b'5;a="b\r\nhello\r\n',
    "a quoted extension with a line feed": b'5;a="b\n"\r\nhello\r\n',
    "a quoted extension with words after it": b'5;a="b"c\r\nhello\r\n',
    "a quoted extension that escapes a CR": b'5;a="\\\r\n"\r\nhello\r\n',
    "a quoted name": b'5;"a"=b\r\nhello\r\n',
    "extensions without an end": b"5;" + b"a" * 300,
    "a last chunk that ends in a bare LF": b"0\n\n",
    "an end of a bare LF": b"0\r\n\n",
    "an end of a bare CR": b"0\r\n\rx",
    "a trailer without a colon": b"0\r\nX\r\n\r\n",
    "a trailer without a name": b"0\r\n: y\r\n\r\n",
    "a trailer with a space before the colon": b"0\r\nX : y\r\n\r\n",
    "a trailer with a NUL": b"0\r\nX: \0\r\n\r\n",
    "a trailer that ends in a bare LF": b"0\r\nX: y\n\r\n",
    "a folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "trailers without an end": b"0\r\n" + b"X: y\r\n" * 2000,
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a_bad_chunked_body(name: str) -> None:
    data = BAD_CHUNKS[name]
    body = ChunkedBody()
    body.feed(data)
    assert body.bad
    body.feed(b"0\r\n\r\n")
    assert body.bad and not body.done


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a_bad_chunked_body_is_as_bad_byte_by_byte(name: str) -> None:
    data = BAD_CHUNKS[name]
    whole, single = ChunkedBody(), ChunkedBody()
    content, used = whole.feed(data)
    pieces = b""
    for at in range(len(data)):
        piece, took = single.feed(data[at : at + 1])
        pieces += piece
        if single.bad:
            assert at + took == used
            break
    assert (pieces, single.bad) == (content, whole.bad)
