"""What the environment may say, and what is made of a bad value."""

import re
from pathlib import Path

import pytest

from lambda_dispatch_extension.options import NAMES, TABLE, OptionError, Options, load

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
