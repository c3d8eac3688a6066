"""Trace context of a client reaches the application as it came."""

import pytest

from tests.support.across import fleet
from tests.support.clients import RawClient
from tests.support.instance_peer import Call
from tests.support.loop import scenario

FIELDS = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "baggage": "userId=alice,serverNode=DF%2028;isProduction=false",
    "x-amzn-trace-id": "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1",
    "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_application_gets_the_field_unchanged_and_once(name: str) -> None:
    got: list[list[str]] = []

    async def handler(call: Call) -> None:
        got.append(call.all(name))
        await call.respond(200)

    @scenario
    async def asked() -> None:
        async with fleet(1) as one:
            await one.instance(handler)
            async with await RawClient.dial(one.port) as client:
                assert (await client.get("/", f"{name}: {FIELDS[name]}\r\n")).status == 200

    asked()
    assert got == [[FIELDS[name]]]
