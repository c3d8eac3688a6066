"""Lambda's Invoke, over transport.py. access.py finds region, endpoint and credentials; botocore only signs.

HTTP_PROXY, HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE are honoured.

Credentials may need a metadata service or STS to be renewed: that happens in a thread, never on the loop.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import botocore.auth
import botocore.awsrequest
import botocore.exceptions

from lambda_dispatch.function_name import FunctionName
from lambda_dispatch.scaler import access
from lambda_dispatch.scaler.transport import Answer, Endpoint, Transport
from lambda_dispatch.telemetry import log

# Lambda ends an invocation after 15 min; what has not answered by then never will.
PATIENCE = 15 * 60 + 30.0
RENEWAL = 60.0  # s between looks at the credentials; botocore renews them 10 to 15 min before their end


class Reply(NamedTuple):
    """What Lambda said to an invoke."""

    status: int
    function_error: str  # x-amz-function-error: Handled, Unhandled; "" when the function returned
    error_type: str  # x-amzn-errortype: why Lambda refused; "" when it did not
    payload: bytes


class LambdaApi:
    def __init__(self, environ: Mapping[str, str], function: FunctionName) -> None:
        found = access.find(environ, function)
        self.region = found.region
        self.endpoint_url = found.endpoint_url
        self.credentials_from = found.credentials_from
        self._credentials: Any = found.credentials
        self._frozen: Any = self._credentials.get_frozen_credentials()

        endpoint = Endpoint.of(self.endpoint_url)
        self._base = "/" + "/".join(self.endpoint_url.split("/")[3:]) if self.endpoint_url.count("/") > 2 else ""
        self._url = self.endpoint_url
        context = ssl.create_default_context(cafile=found.ca_bundle) if endpoint.tls else None
        self._transport = Transport(endpoint, context)

    async def keep_credentials_fresh(self) -> None:
        """Runs for ever. A renewal that fails leaves the old ones, which Lambda will refuse in good time."""
        while True:
            await asyncio.sleep(RENEWAL)
            try:
                self._frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
            except (botocore.exceptions.BotoCoreError, OSError) as error:
                log.warning("credentials not renewed", error=type(error).__name__)

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


def _reply(answer: Answer) -> Reply:
    return Reply(
        answer.status,
        answer.headers.get("x-amz-function-error", ""),
        answer.headers.get("x-amzn-errortype", "").split(":")[0],
        answer.body,
    )
