"""Tenant isolation: which tenant an invoke is for."""

import re

from lambda_dispatch.local.function import Function
from lambda_dispatch.local.service import service_error
from lambda_dispatch_net.http_server import Request

TENANT = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")


def tenant_of(request: Request, function: Function) -> str | None:
    """The tenant that an invoke names; each must, where the function isolates tenants, and no other may."""
    tenant = request.header("x-amz-tenant-id")
    if tenant is None:
        if function.tenant_isolation:
            raise service_error.invalid_parameter(
                "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request "
                "and try again."
            )
        return None
    if not function.tenant_isolation:
        raise service_error.invalid_parameter(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request "
            "and try again."
        )
    if not TENANT.fullmatch(tenant):
        raise service_error.validation("tenantId", tenant, r"[a-zA-Z0-9\._:\/=+\-@ ]+")
    return tenant
