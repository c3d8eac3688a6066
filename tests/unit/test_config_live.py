"""What a reload changes: the table, the record that processes read, and that what is called live is read again."""

import dataclasses
import os
import re
from pathlib import Path

from lambda_dispatch.config import OPTIONS, RouterConfig
from lambda_dispatch.config.live import RESTART, ROLLING, TLS, reload
from lambda_dispatch.settings import HEAD, Reader, Writer

SOURCE = Path(__file__).resolve().parents[2] / "src/lambda_dispatch"
# Only looked at when the configuration is read.
CHECKED_ONLY = {"admin_read_only"}
# Where a process takes a new configuration, and files that read its options at each use.
APPLIED = {
    "front/door.pyx": "def apply",
    "front/uploads.pyx": "def apply",
    "control/control.py": "def apply",
    "worker/reload.py": "def apply",
    "scaler/loop.py": "def apply",
    "admin/server.py": "def apply",
    "supervisor/supervisor.py": "def reload",
}
READ_AT_USE = {
    "admin/access.py": r"\bconfig\.(\w+)",  # made again by the admin process's apply()
    "front/function_header.py": r"\bconfig\.(\w+)",  # made again by the worker's apply()
    "worker/drain.py": r"\bself\.worker\.config\.(\w+)",
    "worker/process.py": r"\bself\.control\.probe\(int\(self\.config\.(\w+) \* 1e9\), int\(self\.config\.(\w+)",
    "scaler/loop.py": r"\bself\._config\.(\w+)",
}


def body(text: str, start: str) -> str:
    """A function's lines, and those of limits_of, which the scaler's calls."""
    found = re.search(rf"^( *){start}\b.*?(?=^\1\S|^ {{0,3}}\S|\Z)", text, re.M | re.S)
    assert found is not None, start
    return found[0]


def test_every_option_is_live_or_named_with_the_reason() -> None:
    assert set(ROLLING) | set(RESTART) | set(TLS) <= set(OPTIONS)
    assert not set(ROLLING) & set(RESTART)
    assert all(ROLLING.values()) and all(RESTART.values())
    read: set[str] = set()
    for name, start in APPLIED.items():
        read |= set(re.findall(r"\bconfig\.(\w+)", body((SOURCE / name).read_text(), start)))
    read |= set(re.findall(r"\bconfig\.(\w+)", body((SOURCE / "scaler/loop.py").read_text(), "def limits_of")))
    for name, pattern in READ_AT_USE.items():
        for found in re.findall(pattern, (SOURCE / name).read_text()):
            read |= {found} if isinstance(found, str) else set(found)
    live = set(OPTIONS) - set(ROLLING) - set(RESTART) - set(TLS) - CHECKED_ONLY
    assert len(live) > 30
    assert sorted(live - read) == [], "no process takes these: read them in its apply(), or name them in config/live.py"


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
