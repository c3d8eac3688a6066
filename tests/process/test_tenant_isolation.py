"""Tenants from the Invoke API to the application: each has environments of its own, and no client names one."""

import http.client
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambda_dispatch.local.commands.lambda_command import main
from tests.support.direct_lambda import Callers, invoke, open_gates, wait_for_requests, web
from tests.support.direct_rig import STREAM, URL, V1, Seen, ask
from tests.support.local_lambda import Running, running_lambda, wait_for


def asking(shape: str = URL) -> dict[str, Any]:
    """An event whose client names a tenant."""
    value = ask(shape, "/head")
    value["headers"] = {**value["headers"], "X-Amz-Tenant-Id": "spoofed"}
    return value


def seen(running: Running, **more: Any) -> Seen:
    return Seen(invoke(running, asking(), **more))


def tenants(running: Running) -> list[str]:
    return sorted(environment["tenant"] for environment in running.environments())


def test_the_tenant_of_an_invoke_reaches_the_application_and_a_clients_own_does_not() -> None:
    with running_lambda(web(tenant_isolation=True)) as running:
        for tenant in ("blue", "green", "team red/7:a@b+c=d._-"):
            request = seen(running, TenantId=tenant)
            assert request.all("x-amz-tenant-id") == [tenant]
            assert json.loads(request.headers["x-amzn-lambda-context"])["tenant_id"] == tenant
    with running_lambda(web()) as running:
        request = seen(running)
        assert request.all("x-amz-tenant-id") == []
        assert "tenant_id" not in json.loads(request.headers["x-amzn-lambda-context"])


def test_each_tenant_has_environments_of_its_own() -> None:
    with running_lambda(web(tenant_isolation=True)) as running, Callers(2) as callers:
        for _ in range(3):
            for tenant in ("blue", "green"):
                seen(running, TenantId=tenant)
        assert tenants(running) == ["blue", "green"]
        assert [environment["served"] for environment in running.environments()] == [3, 3]
        gated = callers.invoke(running, [ask(URL, "/gated-head")] * 2, TenantId="blue")
        wait_for(lambda: tenants(running) == ["blue", "blue", "green"])
        wait_for_requests(running, "/gated-head", 2)
        open_gates(running)
        assert all(each.result()["statusCode"] == 200 for each in gated)


def test_several_invokes_at_once_share_an_environment_only_with_their_own_tenant() -> None:
    with running_lambda(web(tenant_isolation=True, environment_concurrency=4)) as running, Callers(6) as callers:
        blue = callers.invoke(running, [ask(URL, "/gated-head")] * 3, TenantId="blue")
        green = callers.invoke(running, [ask(URL, "/gated-head")] * 3, TenantId="green")
        wait_for(lambda: [each["running"] for each in running.environments()] == [3, 3])
        wait_for_requests(running, "/gated-head", 6)
        assert tenants(running) == ["blue", "green"]
        open_gates(running)
        assert all(each.result()["statusCode"] == 200 for each in blue + green)


def test_at_the_limit_an_idle_environment_of_another_tenant_makes_room() -> None:
    with running_lambda(web(tenant_isolation=True), concurrency=1) as running:
        for tenant in ("blue", "green", "blue"):
            assert seen(running, TenantId=tenant).headers["x-amz-tenant-id"] == tenant
        assert tenants(running) == ["blue"]
        assert running.statistics("web")["cold_starts"] == 3


def test_a_stream_and_an_asynchronous_invoke_have_their_tenant_too() -> None:
    with running_lambda(web(STREAM, tenant_isolation=True)) as running:
        payload = json.dumps(asking()).encode()
        answer = running.client.invoke_with_response_stream(FunctionName="web", Payload=payload, TenantId="blue")
        said = b"".join(each["PayloadChunk"]["Payload"] for each in answer["EventStream"] if "PayloadChunk" in each)
        head = bytes.fromhex(json.loads(said.partition(bytes(8))[2])["head"]).decode()
        assert "x-amz-tenant-id: blue\r\n" in head and "spoofed" not in head
        running.invoke(asking(), "web", TenantId="green", InvocationType="Event")
        wait_for(lambda: tenants(running) == ["blue", "green"])
        wait_for(lambda: [each["served"] for each in running.environments()] == [1, 1])


def test_an_invoke_without_its_tenant_or_with_one_too_many_is_refused() -> None:
    with running_lambda(web(tenant_isolation=True), web(name="plain")) as running:
        refused = running.client.exceptions.InvalidParameterValueException
        with pytest.raises(refused, match="Add a valid tenant ID"):
            running.invoke({}, "web")
        with pytest.raises(refused, match="Add a valid tenant ID"):
            running.client.invoke_with_response_stream(FunctionName="web", Payload=b"{}")
        with pytest.raises(refused, match="Remove the tenant ID"):
            running.invoke({}, "plain", TenantId="blue")
        for tenant in ("a,b", "x" * 257):
            with pytest.raises(ClientError, match="tenantId"):
                running.invoke({}, "web", TenantId=tenant)
        assert running.environments() == []
        told = running.client.get_function_configuration(FunctionName="web")
        assert told["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
        assert "TenancyConfig" not in running.client.get_function_configuration(FunctionName="plain")


def test_api_gateway_v1_names_the_tenant_with_a_header() -> None:
    with running_lambda(web(tenant_isolation=True), direct="web", event="v1") as running:
        for headers, status in (({"X-Amz-Tenant-Id": "blue"}, 200), ({}, 400)):
            connection = http.client.HTTPConnection("127.0.0.1", running.local.direct_port, timeout=30)
            connection.request("GET", "/head", headers=headers)
            response = connection.getresponse()
            body = response.read()
            connection.close()
            assert response.status == status, body
            if status == 200:
                assert b"x-amz-tenant-id: blue" in bytes.fromhex(json.loads(body)["head"]).lower()


def test_what_cannot_name_a_tenant_is_refused_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for shape in ("url", "v2", "alb", "alb-multi"):
        options = ["--function-name", "web", "--tenant-isolation", "--direct-port", "0", "--direct-event", shape]
        assert main([*options, "--", "true"]) == 2
        assert "add --direct-event v1" in capsys.readouterr().err


def test_an_event_of_v1_is_answered_for_its_tenant() -> None:
    with running_lambda(web(tenant_isolation=True)) as running:
        request = Seen(invoke(running, asking(V1), TenantId="blue"))
        assert request.all("x-amz-tenant-id") == ["blue"]
