"""The Lambda service's own errors, in its JSON and headers, so that every SDK raises the exception it knows."""

import orjson

from lambda_dispatch_net.http_server import Response

INVOKE_PAYLOAD_LIMIT = 6 * 1024 * 1024  # request and response of a synchronous invoke
EVENT_PAYLOAD_LIMIT = 1024 * 1024  # request of an asynchronous invoke


class ServiceError(Exception):
    def __init__(
        self, status: int, kind: str, message: str, *, reason: str | None = None, retry_after: int | None = None
    ):
        super().__init__(f"{kind}: {message}")
        self.status = status
        self.kind = kind
        self.message = message
        self.reason = reason
        self.retry_after = retry_after

    def response(self, request_id: str) -> Response:
        # The service spells the key "Message" where the shape does; SDKs read both.
        key = "Message" if self.kind == "ResourceNotFoundException" else "message"
        body = {"Type": "User" if self.status < 500 else "Service", key: self.message}
        if self.reason is not None:
            body = {"Reason": self.reason, **body}
        headers = [
            ("content-type", "application/json"),
            ("x-amzn-requestid", request_id),
            ("x-amzn-errortype", self.kind),
        ]
        if self.retry_after is not None:
            headers.append(("retry-after", str(self.retry_after)))
        return Response(self.status, orjson.dumps(body), headers)


def not_found(arn: str) -> ServiceError:
    return ServiceError(404, "ResourceNotFoundException", f"Function not found: {arn}")


def throttled(reason: str) -> ServiceError:
    return ServiceError(429, "TooManyRequestsException", "Rate Exceeded.", reason=reason, retry_after=1)


def request_too_large(limit: int) -> ServiceError:
    return ServiceError(
        413, "RequestTooLargeException", f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
    )


def invalid_content(why: str) -> ServiceError:
    return ServiceError(400, "InvalidRequestContentException", f"Could not parse request body into json: {why}")


def invalid_parameter(why: str) -> ServiceError:
    return ServiceError(400, "InvalidParameterValueException", why)


def validation(name: str, value: str, pattern: str) -> ServiceError:
    return ServiceError(
        400,
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
        f"Member must satisfy regular expression pattern: {pattern}",
    )
