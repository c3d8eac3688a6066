"""Commands by POST: from a path and a JSON body to the supervisor's socket, and its answer back."""

import asyncio
import json
from typing import Any

from lambda_dispatch.admin.access import Refusal
from lambda_dispatch_net.http_server import Request

MAX_AT_ONCE = 4  # commands on their way to the supervisor, which carries out one after the other
PATIENCE = 5.0  # s
MAX_ANSWER = 1024 * 1024  # bytes
MAX_BODY = 4096 - 512  # bytes; the supervisor's line also has op, pool and who

POOL_OPS = {"limits": "limits", "pause": "pause", "resume": "resume", "recycle": "recycle", "breaker": "breaker"}
ROUTER_OPS = {"/drain": "drain", "/undrain": "undrain"}
OPS = {"/api/v1/log-level": "log-level", "/api/v1/reload": "reload"}
PATHS = (
    f"/api/v1/pools/NAME/{{{','.join(POOL_OPS)}}}",
    "/api/v1/instances/ID/drain",
    "/api/v1/router/{drain,undrain}",
    *OPS,
)


def command_at(path: str) -> dict[str, Any] | None:
    """What a path asks for; None when it is none of a command's."""
    if path in OPS:
        return {"op": OPS[path]}
    prefix, _, last = path.rpartition("/")
    if prefix == "/api/v1/router" and f"/{last}" in ROUTER_OPS:
        return {"op": ROUTER_OPS[f"/{last}"]}
    if prefix.startswith("/api/v1/instances/") and last == "drain":
        return {"op": "drain-instance", "instance": prefix.removeprefix("/api/v1/instances/")}
    if prefix.startswith("/api/v1/pools/") and last in POOL_OPS:
        return {"op": POOL_OPS[last], "pool": prefix.removeprefix("/api/v1/pools/")}
    return None


def parse(request: Request, command: dict[str, Any]) -> dict[str, Any]:
    """The whole command. Raises Refusal."""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A form of another site cannot send this type.
        raise Refusal(415, f"content-type is {kind[:40]!r}; it must be application/json")
    if request.too_large or len(request.body) > MAX_BODY:
        raise Refusal(413, f"the body is over {MAX_BODY} bytes")
    try:
        body = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be one JSON object")
    for name in ("op", "pool", "instance"):
        if name in body:
            raise Refusal(400, f"{name} stands in the path")
    who = body.pop("who", "")
    if not isinstance(who, str) or len(who) > 24 or not who.isprintable():
        raise Refusal(400, "who must be a printable text of at most 24 characters")
    return {**body, **command, "who": f"{who} {request.peer}".strip()[:47]}


class Commands:
    def __init__(self, path: str) -> None:
        self._path = path  # the supervisor's socket
        self._at_once = 0

    async def send(self, command: dict[str, Any]) -> dict[str, Any]:
        """The supervisor's answer. Raises Refusal."""
        if not self._path:
            raise Refusal(503, "the router takes no commands")
        if self._at_once >= MAX_AT_ONCE:
            raise Refusal(503, f"{MAX_AT_ONCE} commands are on their way; try again")
        self._at_once += 1
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._ask(json.dumps(command).encode() + b"\n")
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Refusal(503, f"the supervisor did not answer: {type(error).__name__}") from error
        finally:
            self._at_once -= 1
        if not answer.get("ok"):
            raise Refusal(int(answer.get("status", 500)), str(answer.get("error", "refused")))
        return answer

    async def _ask(self, line: bytes) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_ANSWER)
        try:
            writer.write(line)
            await writer.drain()
            found: dict[str, Any] = json.loads(await reader.readuntil(b"\n"))
            return found
        finally:
            writer.close()
