"""Lambda's Invoke, over transport.py. botocore knows credentials, region, endpoint and signature; it sends nothing.

    AWS_ENDPOINT_URL_LAMBDA, AWS_ENDPOINT_URL, profiles    as botocore has them
    AWS_LAMBDA_SERVICE_URL                                 the original router's name for the same
    HTTP_PROXY, HTTPS_PROXY, NO_PROXY, AWS_CA_BUNDLE       likewise

Credentials may need a metadata service or STS to be renewed: that happens in a thread, never on the loop.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import botocore.httpsession
import botocore.session

from lambda_dispatch.function_name import FunctionName
from lambda_dispatch.scaler.transport import Answer, Endpoint, Transport
from lambda_dispatch.telemetry import log

# Lambda ends an invocation after 15 min; what has not answered by then never will.
PATIENCE = 15 * 60 + 30.0
RENEWAL = 60.0  # s between looks at the credentials; botocore renews them 10 to 15 min before their end
DEFAULT_REGION = "us-east-1"  # with an endpoint of one's own the region is only a word in the signature


class Reply(NamedTuple):
    """What Lambda said to an invoke."""

    status: int
    function_error: str  # x-amz-function-error: Handled, Unhandled; "" when the function returned
    error_type: str  # x-amzn-errortype: why Lambda refused; "" when it did not
    payload: bytes


class LambdaApi:
    def __init__(self, environ: Mapping[str, str], function: FunctionName) -> None:
        session = botocore.session.Session()
        custom = environ.get("AWS_LAMBDA_SERVICE_URL") or None
        region = session.get_config_variable("region") or _region_of(function.name)
        more: dict[str, Any] = {"endpoint_url": custom} if custom else {}
        # A client would bring a pool and threads of its own; it is asked for the endpoint and let go.
        client = session.create_client(
            "lambda",
            region_name=region or DEFAULT_REGION,
            aws_access_key_id="-",
            aws_secret_access_key="-",
            **more,
        )
        self.endpoint_url: str = client.meta.endpoint_url.rstrip("/")
        client.close()
        if region is None and ".amazonaws.com" in self.endpoint_url:
            raise botocore.exceptions.NoRegionError
        self.region: str = region or DEFAULT_REGION
        local = ".amazonaws.com" not in self.endpoint_url
        if local:
            # The machine's role is nothing to a Lambda that is not Amazon's, and asking for it takes a second or two.
            session.get_component("credential_provider").remove("iam-role")
        self._credentials: Any = session.get_credentials()
        if self._credentials is None:
            if not local:
                raise botocore.exceptions.NoCredentialsError
            log.info("no credentials; signing with dummy ones", endpoint=self.endpoint_url)
            self._credentials = botocore.credentials.Credentials("dummy", "dummy")
        self._frozen: Any = self._credentials.get_frozen_credentials()

        endpoint = Endpoint.of(self.endpoint_url)
        self._base = "/" + "/".join(self.endpoint_url.split("/")[3:]) if self.endpoint_url.count("/") > 2 else ""
        self._url = self.endpoint_url
        context = None
        if endpoint.tls:
            bundle = session.get_config_variable("ca_bundle") or botocore.httpsession.get_cert_path(True)
            context = ssl.create_default_context(cafile=bundle)
        self._transport = Transport(endpoint, context)

    async def keep_credentials_fresh(self) -> None:
        """Runs for ever. A renewal that fails leaves the old ones, which Lambda will refuse in good time."""
        while True:
            await asyncio.sleep(RENEWAL)
            try:
                self._frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
            except (botocore.exceptions.BotoCoreError, OSError) as error:
                log.warning("the credentials could not be renewed", error=type(error).__name__)

    async def invoke(self, function: FunctionName, payload: bytes) -> Reply:
        """Returns when the invocation ends. Raises NotSent or Lost of transport.py."""
        path, headers = self._signed(function, payload)
        answer = await self._transport.post(path, headers, payload, PATIENCE)
        return _reply(answer)

    def _signed(self, function: FunctionName, payload: bytes) -> tuple[str, dict[str, str]]:
        path = f"{self._base}/2015-03-31/functions/{quote(function.name, safe='')}/invocations"
        if function.qualifier is not None:
            path += f"?Qualifier={quote(function.qualifier, safe='')}"
        origin = self._url[: len(self._url) - len(self._base)]
        request = botocore.awsrequest.AWSRequest(
            "POST",
            origin + path,
            headers={"content-type": "application/json", "x-amz-invocation-type": "RequestResponse"},
            data=payload,
        )
        botocore.auth.SigV4Auth(self._frozen, "lambda", self.region).add_auth(request)
        return path, {"host": self._transport.endpoint.authority, **dict(request.headers.items())}


def _region_of(function: str) -> str | None:
    return function.split(":")[3] if function.startswith("arn:") else None


def _reply(answer: Answer) -> Reply:
    return Reply(
        answer.status,
        answer.headers.get("x-amz-function-error", ""),
        answer.headers.get("x-amzn-errortype", "").split(":")[0],
        answer.body,
    )
