"""Reading the router's invoke."""

from typing import Any

import pytest

from lambda_dispatch_extension.payload import InvalidInvoke, parse

GOOD: dict[str, Any] = {
    "PoolId": "blue",
    "Id": "8f14e45f-ceea-467f-a0e6-1d3a5a8f3b10",
    "DispatcherUrl": "http://10.0.0.7:5003/api/chunked",
    "NumberOfChannels": 20,
    "SentTime": "2024-05-01T10:00:00.1234567+02:00",
}


def test_every_field_is_read() -> None:
    invocation = parse(GOOD)
    assert (invocation.pool_id, invocation.lambda_id) == ("blue", GOOD["Id"])
    assert (invocation.scheme, invocation.host, invocation.port) == ("http", "10.0.0.7", 5003)
    assert invocation.authority == "10.0.0.7:5003"
    assert (invocation.channels, invocation.connections, invocation.init_only) == (20, 1, False)
    assert invocation.sent == pytest.approx(1714550400.123456)
    assert invocation.idle_grace == 0


@pytest.mark.parametrize("pool", [None, "", 7])
def test_a_missing_pool_is_the_default_one(pool: object) -> None:
    assert parse({**GOOD, "PoolId": pool}).pool_id == "default"


def test_unknown_fields_are_ignored() -> None:
    assert parse({**GOOD, "Colour": {"x": [1]}}) == parse(GOOD)


@pytest.mark.parametrize(("hint", "used"), [(4, 4), (0, 1), (-1, 1), (1000, 20), ("4", 1), (True, 1), (None, 1)])
def test_the_hint_of_connections_is_used_within_reason(hint: object, used: int) -> None:
    assert parse({**GOOD, "NumberOfConnections": hint}).connections == used


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [(900_000, 900.0), (0, 0.0), (-5, 0.0), (10**400, 86400.0), ("9", 0.0), (True, 0.0), (None, 0.0), (1.5, 0.0)],
)
def test_the_hint_to_stay_when_idle_is_used_within_reason(hint: object, seconds: float) -> None:
    assert parse({**GOOD, "IdleGraceMs": hint}).idle_grace == seconds


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://router.internal:5004/api/chunked", "router.internal:5004"),
        ("https://router.internal/api/chunked", "router.internal:443"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://[fd00::7]:5003/api/chunked", "[fd00::7]:5003"),
    ],
)
def test_an_address_of_any_form_is_understood(url: str, authority: str) -> None:
    assert parse({**GOOD, "DispatcherUrl": url}).authority == authority


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("DispatcherUrl", "ftp://10.0.0.7/"),
        ("DispatcherUrl", "http://:5003/"),
        ("DispatcherUrl", "http://host:0/"),
        ("DispatcherUrl", "http://host:70000/"),
        ("DispatcherUrl", "http://ho st/"),
        ("DispatcherUrl", "http://host\r\nx: y/"),
        ("DispatcherUrl", None),
        ("SentTime", "yesterday"),
        ("SentTime", "2024-05-01"),
        ("SentTime", "2024-05-01T10:00:00"),
        ("SentTime", 1714550400),
        ("NumberOfChannels", 256),
        ("NumberOfChannels", -1),
        ("NumberOfChannels", "20"),
        ("NumberOfChannels", True),
        ("NumberOfChannels", 2.5),
        ("Id", None),
        ("Id", "a/b"),
        ("Id", "a\r\nb"),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_field_and_value(field: str, value: object) -> None:
    with pytest.raises(InvalidInvoke, match=field) as caught:
        parse({**GOOD, field: value})
    assert repr(value) in str(caught.value) or field == "Id"
    assert caught.value.pool_id == "blue"
    if field != "Id":
        assert caught.value.lambda_id == GOOD["Id"]


@pytest.mark.parametrize("payload", [None, 7, "x", [GOOD]])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(InvalidInvoke, match="not an object"):
        parse(payload)
