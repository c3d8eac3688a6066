"""The embedded Lambda as a whole: ports, fleet, and an end that leaves nothing behind."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lambda_dispatch.local.environment.environment import Environment
from lambda_dispatch.local.environment.process import Guard
from lambda_dispatch.local.function import Function
from lambda_dispatch.local.knobs import Knobs
from lambda_dispatch.local.service.direct import DirectFront
from lambda_dispatch.local.service.event_queue import EventQueue
from lambda_dispatch.local.service.fleet import Fleet
from lambda_dispatch.local.service.invoke_api import InvokeApi
from lambda_dispatch.local.service.service_error import INVOKE_PAYLOAD_LIMIT
from lambda_dispatch_net.http_server import Handler, HttpServer

CLOSE_GRACE = 0.5  # seconds answers have to leave after the environments are gone


class PortError(Exception):
    """A port that cannot be listened on; the message is meant for the user."""


@dataclass(slots=True)
class LocalLambdaConfig:
    functions: Sequence[Function]
    host: str = "127.0.0.1"
    port: int = 5051
    direct_host: str = "127.0.0.1"
    direct_port: int | None = None
    direct_function: str = ""  # which of them the direct front invokes
    direct_event: str = "url"  # one of shapes.SHAPES
    direct_mode: str = "buffered"  # one of direct.MODES
    knobs: Knobs = field(default_factory=Knobs)


class LocalLambda:
    """`start` listens, `close` shuts every environment down; `write_log` gets (environment or None, source, line)."""

    def __init__(
        self, config: LocalLambdaConfig, write_log: Callable[[Environment | None, str, str], None] = lambda *_: None
    ) -> None:
        self._config = config
        self._write_log = write_log
        self._guard = Guard()
        self.fleet = Fleet(config.functions, config.knobs, self._guard, write_log)
        self._events = EventQueue(self.fleet, self._say)
        self._servers: list[HttpServer] = []
        self.port = 0
        self.direct_port = 0

    @property
    def guard(self) -> Guard:
        """For processes that belong to the same run and must not survive it either."""
        return self._guard

    @property
    def url(self) -> str:
        return f"http://{_in_url(self._config.host)}:{self.port}"

    async def start(self) -> None:
        config = self._config
        api = InvokeApi(self.fleet, self._events, self._say)
        try:
            self.port = await self._listen(api.answer, config.host, config.port, "Invoke API", "--lambda-port")
            if config.direct_port is not None:
                pool = self.fleet.pools[config.direct_function]
                front = DirectFront(self.fleet, pool, self._say, config.direct_event, config.direct_mode)
                self.direct_port = await self._listen(
                    front.answer,
                    config.direct_host,
                    config.direct_port,
                    "direct front",
                    "--direct-port",
                    for_pages=True,
                )
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._events.close()
        await self.fleet.close()
        for server in self._servers:
            await server.close(grace=CLOSE_GRACE)
        self._guard.close()

    async def _listen(
        self, answer: Handler, host: str, port: int, what: str, option: str, *, for_pages: bool = False
    ) -> int:
        server = HttpServer(answer, max_body=INVOKE_PAYLOAD_LIMIT, failed=self._failed, for_pages=for_pages)
        try:
            bound = await server.start(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortError(
                    f"port {port} on {host} ({what}) is in use; free it or choose another with {option}"
                ) from None
            raise PortError(f"cannot listen on {host}:{port} ({what}): {error.strerror or error}") from None
        self._servers.append(server)
        return bound

    def _say(self, line: str) -> None:
        self._write_log(None, "lambda", line)

    def _failed(self, error: BaseException) -> None:
        self._say(f"internal error: {error!r}")


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
