"""Which Lambda is called, and as whom: region, endpoint and credentials, found before anything is started.

boto3 reads profiles, files, container and instance roles; AWS_REGION, which it does not read, is read here. In order:

    region      the function's ARN, AWS_REGION, AWS_DEFAULT_REGION, the profile
    endpoint    AWS_LAMBDA_SERVICE_URL (the original router's name), AWS_ENDPOINT_URL_LAMBDA, AWS_ENDPOINT_URL
    credentials whatever boto3 finds; an endpoint that is not Amazon's needs none
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3.session
import botocore.credentials
import botocore.exceptions
import botocore.httpsession
import botocore.session

from lambda_dispatch.exits import EX_CONFIG, EXIT_BOOT
from lambda_dispatch.function_name import FunctionName

DEFAULT_REGION = "us-east-1"  # with an endpoint of one's own the region is only a word in the signature

NO_REGION = (
    "no AWS region: set AWS_REGION, name a profile that has one in AWS_PROFILE, or give FunctionName as an ARN, "
    "which has a region of its own"
)
NO_CREDENTIALS = (
    "no AWS credentials: give the task, pod or instance a role, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "name a profile in AWS_PROFILE; they need lambda:InvokeFunction on {function}"
)


class AccessError(Exception):
    """Lambda cannot be called; the text says what is missing and the ways to give it."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Access:
    region: str
    region_from: str
    endpoint_url: str
    credentials: Any  # botocore's; renewed by themselves
    credentials_from: str
    ca_bundle: str

    def describe(self) -> str:
        return (
            f"AWS region       {self.region} ({self.region_from})\n"
            f"AWS credentials  {self.credentials_from}\n"
            f"Lambda endpoint  {self.endpoint_url}"
        )


def find(environ: Mapping[str, str], function: FunctionName) -> Access:
    try:
        return _find(environ, function)
    except botocore.exceptions.NoRegionError as error:
        raise AccessError(NO_REGION, EX_CONFIG) from error
    except botocore.exceptions.BotoCoreError as error:
        fixed = (
            botocore.exceptions.InvalidRegionError,
            botocore.exceptions.ProfileNotFound,
            botocore.exceptions.ConfigParseError,
        )
        # Credentials may come from a service that fails for a moment; the configuration does not change by itself.
        raise AccessError(
            f"the AWS configuration cannot be used: {error}", EX_CONFIG if isinstance(error, fixed) else EXIT_BOOT
        ) from error
    except ValueError as error:
        raise AccessError(f"the Lambda endpoint cannot be used: {error}", EX_CONFIG) from error


def _find(environ: Mapping[str, str], function: FunctionName) -> Access:
    inner = botocore.session.Session()
    region, region_from = _region(environ, function, inner)
    session = boto3.session.Session(region_name=region or DEFAULT_REGION, botocore_session=inner)
    custom = environ.get("AWS_LAMBDA_SERVICE_URL") or None
    # The client brings a pool of its own; it is asked for the endpoint and closed.
    client = session.client("lambda", endpoint_url=custom, aws_access_key_id="-", aws_secret_access_key="-")
    endpoint_url: str = client.meta.endpoint_url.rstrip("/")
    client.close()
    local = ".amazonaws.com" not in endpoint_url
    if region is None and not local:
        raise botocore.exceptions.NoRegionError
    if local:
        # A Lambda that is not Amazon's has no use for the machine's role, and asking for it takes a second or two.
        inner.get_component("credential_provider").remove("iam-role")
    credentials: Any = session.get_credentials()
    credentials_from = getattr(credentials, "method", "")
    if credentials is None:
        if not local:
            # A metadata service that fails once looks the same.
            raise AccessError(NO_CREDENTIALS.format(function=function.name), EXIT_BOOT)
        credentials = botocore.credentials.Credentials("dummy", "dummy")
        credentials_from = "none; the endpoint is not Amazon's"
    return Access(
        region=region or DEFAULT_REGION,
        region_from=region_from,
        endpoint_url=endpoint_url,
        credentials=credentials,
        credentials_from=credentials_from,
        ca_bundle=inner.get_config_variable("ca_bundle") or str(botocore.httpsession.get_cert_path(True)),
    )


def _region(
    environ: Mapping[str, str], function: FunctionName, session: botocore.session.Session
) -> tuple[str | None, str]:
    if function.name.startswith("arn:"):
        return function.name.split(":")[3], "the function's ARN"
    if region := environ.get("AWS_REGION", "").strip():
        return region, "AWS_REGION"
    if region := session.get_config_variable("region"):
        return region, "AWS_DEFAULT_REGION or the profile"
    return None, "none; the endpoint needs none"
