"""What the environment may say, and what is made of a bad value."""

import re
from pathlib import Path

import pytest

from lambda_dispatch_extension.options import NAMES, TABLE, OptionError, Options, load, runtime_api

PREFIX = "LAMBDA_DISPATCH_"


def loaded(**environ: str) -> tuple[Options, list[str]]:
    notes: list[str] = []

    def note(event: str, **fields: object) -> None:
        notes.append(event + "".join(f" {name}={value!r}" for name, value in fields.items()))

    return load({PREFIX + name: value for name, value in environ.items()}, note), notes


def test_without_any_variable_the_defaults_are_the_originals() -> None:
    options, notes = loaded()
    assert options == Options()
    assert (options.port, options.async_init, options.compression, options.grace) == (3001, False, True, 0.25)
    assert options.margin(900) == 15
    assert not notes


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("PORT", "0", "port"),
        ("PORT", "65536", "port"),
        ("PORT", "0x50", "port"),
        ("PORT", "-1", "port"),
        ("PORT", "８０", "port"),
        ("APP_PROTOCOL", "h3", "app_protocol"),
        ("ASYNC_INIT", "maybe", "async_init"),
        ("ASYNC_INIT_TIMEOUT", "soon", "async_init_timeout"),
        ("ENABLE_COMPRESSION", "2", "compression"),
        ("FORCE_DEADLINE", "-3", "force_deadline"),
        ("LAST_ACTIVE_GRACE_PERIOD_MS", "1_000", "grace"),
        ("HEALTH_CHECK_PATH", "health", "health_path"),
        ("HEALTH_CHECK_PATH", "/a b", "health_path"),
        ("HEALTH_CHECK_PROTOCOL", "udp", "health_protocol"),
        ("HEALTHY_STATUSES", "200-", "healthy"),
        ("HEALTHY_STATUSES", "300-200", "healthy"),
        ("HEALTHY_STATUSES", "99", "healthy"),
        ("DEADLINE_MARGIN", "60%", "deadline_margin"),
        ("DEADLINE_MARGIN", "0%", "deadline_margin"),
        ("PASS_IDS", "please", "pass_ids"),
        ("APP_IDLE_TIMEOUT_MS", "0", "app_idle"),
    ],
)
def test_a_bad_value_is_noted_and_the_default_is_used(name: str, value: str, field: str) -> None:
    options, notes = loaded(**{name: value})
    assert getattr(options, field) == getattr(Options(), field)
    assert len(notes) == 1
    assert PREFIX + name in notes[0] and repr(value) in notes[0]


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("PORT", "8080", "port", 8080),
        ("APP_PROTOCOL", "H2C", "app_protocol", "h2c"),
        ("ASYNC_INIT", "TRUE", "async_init", True),
        ("ASYNC_INIT_TIMEOUT", "2.5", "async_init_timeout", 2.5),
        ("ENABLE_COMPRESSION", "false", "compression", False),
        ("FORCE_DEADLINE", "60", "force_deadline", 60),
        ("LAST_ACTIVE_GRACE_PERIOD_MS", "1000", "grace", 1.0),
        ("HEALTH_CHECK_PATH", "/up?x=1", "health_path", "/up?x=1"),
        ("HEALTH_CHECK_PROTOCOL", "TCP", "health_protocol", "tcp"),
        ("INIT_TIMEOUT", "0", "init_timeout", 0),
        ("APP_IDLE_TIMEOUT_MS", "1500", "app_idle", 1.5),
        ("APP_CONNECT_TIMEOUT_MS", "200", "app_connect", 0.2),
        ("ROUTER_CONNECT_TIMEOUT_MS", "900", "router_connect", 0.9),
        ("PASS_IDS", "true", "pass_ids", True),
        ("ROUTER_FINGERPRINT", ":".join(["AB"] * 32), "fingerprint", b"\xab" * 32),
    ],
)
def test_a_good_value_is_used(name: str, value: str, field: str, expected: object) -> None:
    options, notes = loaded(**{name: value})
    assert getattr(options, field) == expected
    assert not notes


def test_healthy_statuses_are_a_list_of_statuses_and_ranges() -> None:
    options, _ = loaded(HEALTHY_STATUSES="200, 204,300-399")
    assert [status for status in (200, 201, 204, 299, 300, 399, 400) if options.is_healthy(status)] == [
        200,
        204,
        300,
        399,
    ]


def test_the_deadline_margin_is_seconds_or_a_share_of_the_functions_timeout() -> None:
    assert loaded(DEADLINE_MARGIN="3.5")[0].margin(900) == 3.5
    assert loaded(DEADLINE_MARGIN="10%")[0].margin(900) == 90
    assert loaded(DEADLINE_MARGIN="10%")[0].margin(20) == 2


def test_the_runtime_option_is_accepted_with_a_note_and_ignored() -> None:
    options, notes = loaded(RUNTIME="current_thread")
    assert options == Options()
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROUTER_FINGERPRINT", "abcd"),
        ("ROUTER_FINGERPRINT", "zz" * 32),
        ("ROUTER_CA_FILE", "/nowhere/ca.pem"),
        ("CLIENT_CERTIFICATE", "/nowhere/client.pem"),
        ("CLIENT_KEY", "/dev/null"),
    ],
)
def test_a_bad_way_to_verify_the_router_is_an_error_and_never_weakened(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=PREFIX + name):
        loaded(**{name: value})


def test_without_a_port_of_its_own_the_applications_port_is_that_of_PORT() -> None:
    def port(**environ: str) -> int:
        return load(environ, lambda *_, **__: None).port

    assert port(PORT="8080") == 8080
    assert port(PORT="8080", LAMBDA_DISPATCH_PORT="9000") == 9000
    assert port() == 3001


def adapter(**environ: str) -> tuple[Options, list[str]]:
    notes: list[str] = []

    def note(event: str, **fields: object) -> None:
        notes.append(event + "".join(f" {name}={value}" for name, value in fields.items()))

    return load(environ, note), notes


@pytest.mark.parametrize("name", ["AWS_LWA_INVOKE_MODE", "AWS_LWA_ASYNC_INIT", "PORT"])
def test_any_variable_of_the_web_adapters_brings_its_defaults(name: str) -> None:
    options, _ = adapter(**{name: "8000" if name == "PORT" else "buffered"})
    assert options.port == (8000 if name == "PORT" else 8080)
    assert (options.health_path, options.healthy, options.compression) == ("/", ((100, 499),), False)
    assert options.host == "127.0.0.1" and options.pass_through_path == "/events" and not options.streams


def test_with_a_port_of_ours_the_defaults_are_ours() -> None:
    options, _ = adapter(PORT="1", AWS_LWA_PORT="2", LAMBDA_DISPATCH_PORT="9000", AWS_LWA_REMOVE_BASE_PATH="/v1/")
    assert (options.port, options.health_path, options.healthy) == (9000, "/health", ((200, 200),))
    assert (options.compression, options.base_path) == (True, "/v1")


@pytest.mark.parametrize(
    ("ours", "theirs", "older", "values", "field"),
    [
        ("HOST", "HOST", "HOST", ("a.test", "b.test", "c.test"), "host"),
        ("PORT", "PORT", "PORT", ("1", "2", "3"), "port"),
        ("HEALTH_CHECK_PORT", "READINESS_CHECK_PORT", "READINESS_CHECK_PORT", ("1", "2", "3"), "health_port"),
        ("HEALTH_CHECK_PATH", "READINESS_CHECK_PATH", "READINESS_CHECK_PATH", ("/1", "/2", "/3"), "health_path"),
        ("REMOVE_BASE_PATH", "REMOVE_BASE_PATH", "REMOVE_BASE_PATH", ("/1", "/2", "/3"), "base_path"),
        ("PASS_THROUGH_PATH", "PASS_THROUGH_PATH", "", ("/1", "/2"), "pass_through_path"),
        ("AUTHORIZATION_SOURCE", "AUTHORIZATION_SOURCE", "", ("a", "b"), "authorization_source"),
    ],
)
def test_our_name_is_read_before_the_adapters_and_that_before_the_older_one(
    ours: str, theirs: str, older: str, values: tuple[str, ...], field: str
) -> None:
    names = (PREFIX + ours, "AWS_LWA_" + theirs, *([older] if older else []))
    for first in range(len(names)):
        options, notes = adapter(**dict(list(zip(names, values, strict=True))[first:]))
        expected = int(values[first]) if field.endswith("port") else values[first]
        assert getattr(options, field) == expected
        deprecated = first == 2 and older != "PORT"
        assert notes == ([f"option deprecated variable={older} use=AWS_LWA_{older}"] if deprecated else [])


def test_names_without_a_prefix_that_the_adapter_never_had_are_not_read() -> None:
    names = ("PASS_THROUGH_PATH", "INVOKE_MODE", "AUTHORIZATION_SOURCE", "ENABLE_COMPRESSION", "ERROR_STATUS_CODES")
    assert adapter(**dict.fromkeys(names, "/x")) == (Options(), [])


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", False), ("1", False), ("yes", False), ("", False)]
)
def test_the_adapters_switches_are_on_for_the_exact_word(text: str, value: bool) -> None:
    options, _ = adapter(AWS_LWA_ASYNC_INIT=text, AWS_LWA_ENABLE_COMPRESSION=text)
    assert (options.async_init, options.compression) == (value, value)


@pytest.mark.parametrize(
    ("text", "ranges", "noted"),
    [
        ("200-399, 404 ,500", ((200, 399), (404, 404), (500, 500)), ""),
        ("200,x,1-2-3,500-", ((200, 200),), "x,1-2-3,500-"),
        ("300-200", ((300, 200),), ""),
        ("bad", (), "bad"),
        ("", (), ""),
    ],
)
def test_of_the_adapters_lists_bad_parts_are_skipped_with_a_warning(
    text: str, ranges: tuple[tuple[int, int], ...], noted: str
) -> None:
    options, notes = adapter(AWS_LWA_READINESS_CHECK_HEALTHY_STATUS=text)
    assert options.healthy == ranges
    assert notes == ([f"option ignored in part variable=AWS_LWA_READINESS_CHECK_HEALTHY_STATUS value={text} "
                      f"skipped={noted}"] if noted else [])  # fmt: skip
    assert options.is_healthy(250) == text.startswith("200-399")
    assert adapter(AWS_LWA_ERROR_STATUS_CODES=text)[0].error_statuses == ranges


@pytest.mark.parametrize(
    ("mode", "protocol", "streams", "checks"),
    [("RESPONSE_stream", "TCP", True, "tcp"), ("buffered", "Http", False, "http"), ("other", "udp", False, "http")],
)
def test_the_adapters_words_are_read_in_any_case_and_unknown_ones_are_the_default(
    mode: str, protocol: str, streams: bool, checks: str
) -> None:
    options, notes = adapter(AWS_LWA_INVOKE_MODE=mode, AWS_LWA_READINESS_CHECK_PROTOCOL=protocol)
    assert (options.streams, options.health_protocol, notes) == (streams, checks, [])


@pytest.mark.parametrize(("name", "value"), [("AWS_LWA_HOST", "not a host"), ("AWS_LWA_PORT", "http"), ("HOST", "a/b")])
def test_an_address_that_is_none_ends_the_start(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=f"{name}.*invalid URL configuration"):
        adapter(**{name: value})


def test_the_runtime_api_proxy_stands_before_lambdas_own_address() -> None:
    own = {"AWS_LAMBDA_RUNTIME_API": "a:1"}
    assert runtime_api(own) == "a:1"
    assert runtime_api({**own, "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "b:2"}) == "b:2"
    both = {**own, "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "b:2", "LAMBDA_DISPATCH_LAMBDA_RUNTIME_API_PROXY": "c:3"}
    assert runtime_api(both) == "c:3"


def test_every_field_has_one_option_and_the_page_lists_each() -> None:
    assert sorted(option.field for option in TABLE) == sorted(Options._fields)
    page = (Path(__file__).resolve().parents[2] / "docs" / "extension.md").read_text()
    listed = re.findall(r"^\| `LAMBDA_DISPATCH_(\w+)`", page, re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


def test_the_router_does_not_warn_about_the_extensions_variables() -> None:
    from lambda_dispatch import config

    environ = {PREFIX + name: "x" for name in NAMES}
    needed = {PREFIX + "FunctionName": "f", PREFIX + "AllowInsecureControlChannel": "true"}
    needed[PREFIX + "PreferredControlChannelScheme"] = "http"
    assert not [line for line in config.load({**environ, **needed}, []).warnings if "is not known" in line]
