"""What a reload changes, and the record that processes read."""

import dataclasses
import os

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.config.live import reload
from lambda_dispatch.scaler.model import LEARNT
from lambda_dispatch.settings import HEAD, Reader, Writer


def test_what_can_change_does_and_the_rest_keeps_value_and_source() -> None:
    old = RouterConfig(function_name="app", max_queue=1, http_port=1, sources={"max_queue": "--max-queue"})
    new = RouterConfig(
        function_name="app",
        max_queue=2,
        http_port=2,
        git_hash="abc",
        function_secret="very-secret",
        sources={"max_queue": "f: MaxQueue", "http_port": "f: http_port"},
    )
    done = reload(old, new)
    assert done.live == {"MaxQueue": 2, "FunctionSecret": "***"}
    assert list(done.rolling) == ["GIT_HASH"]
    assert list(done.restart) == ["IncomingRequestHTTPPort"]
    config = done.config
    assert (config.max_queue, config.http_port, config.git_hash) == (2, 1, "abc")
    assert config.function_secret == "very-secret"
    assert config.sources == {"max_queue": "f: MaxQueue"}
    assert reload(new, new)[1:] == ({}, {}, {})


def test_a_value_that_is_a_word_in_the_configuration_is_told_as_that_word() -> None:
    old = RouterConfig(function_name="app")
    assert reload(old, dataclasses.replace(old, target_concurrency=LEARNT)).live == {"TargetConcurrency": "auto"}


def test_another_certificate_is_live_but_tls_is_not_turned_off_or_on() -> None:
    plain = RouterConfig(function_name="app", cert_file="", key_file="")
    tls = dataclasses.replace(plain, cert_file="a", key_file="b")
    assert reload(tls, dataclasses.replace(tls, cert_file="c")).live == {"CertFile": "c"}
    assert list(reload(plain, tls).restart) == ["CertFile", "KeyFile"]
    off = reload(tls, plain)
    assert list(off.restart) == ["CertFile", "KeyFile"]
    assert off.config.cert_file == "a"


def test_another_qualifier_is_another_function() -> None:
    old = RouterConfig(function_name="app", function_qualifier="1")
    done = reload(old, dataclasses.replace(old, function_qualifier="2"))
    assert list(done.restart) == ["FunctionName"]
    assert done.config.function_qualifier == "1"


def test_a_reader_gets_each_change_once_and_never_a_torn_one() -> None:
    writer = Writer()
    try:
        reader = Reader(writer.fd, writer.number)
        assert reader.news() is None
        writer.write(RouterConfig(function_name="one"), (b"chain", b"key"))
        news = reader.news()
        assert news is not None
        assert (news.config.function_name, news.certificate, news.key) == ("one", "chain", "key")
        assert reader.news() is None
        assert Reader(writer.fd, writer.number).news() is None, "it was started with that"
        writer.write(RouterConfig(function_name="two"), None)
        late = os.pread(writer.fd, 1, HEAD.size + 20)
        os.pwrite(writer.fd, b"\0", HEAD.size + 20)
        assert reader.news() is None, "the sum is wrong: it is being written"
        os.pwrite(writer.fd, late, HEAD.size + 20)
        news = reader.news()
        assert news is not None
        assert (news.config.function_name, news.certificate) == ("two", "")
    finally:
        writer.close()
