"""What an invoke is. kind_of() is the one place that decides it: the router's, or which direct event.

The router's invoke is recognised by the top level alone: what lies deeper may be a client's text, as a request's body
that looks like a router's payload is still a body.
"""

ROUTER = "router"
V1 = "API Gateway v1"
V2 = "API Gateway v2 or Function URL"
ALB = "load balancer"
PASS_THROUGH = "pass-through"  # any other JSON: queues, topics, schedules, WebSocket APIs


def kind_of(value: object) -> str:
    """The kind of an invoke by its payload, in the order in which AWS's Lambda Web Adapter tries the events."""
    if not isinstance(value, dict):
        return PASS_THROUGH
    if "requestContext" not in value and "httpMethod" not in value:
        return ROUTER if "DispatcherUrl" in value and "Id" in value else PASS_THROUGH
    context = value.get("requestContext")
    if not isinstance(context, dict):
        return PASS_THROUGH
    method = isinstance(value.get("httpMethod"), str)
    if method and isinstance(context.get("httpMethod"), str):
        return V1
    http = context.get("http")
    if isinstance(http, dict) and isinstance(http.get("method"), str):
        return V2
    return ALB if method and isinstance(context.get("elb"), dict) else PASS_THROUGH
