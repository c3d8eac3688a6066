"""The health check: polls the application until it is healthy, and logs what it answers until then."""

import os
import time

from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.collect import NoAnswer, request
from lambda_dispatch_extension.log import say
from lambda_dispatch_extension.loop import sleep, timeout
from lambda_dispatch_extension.options import Options

# The pause between two polls: PAUSE_SHARE of the time waited so far, so that polling adds no more than that to a start.
PAUSE_LEAST, PAUSE_MOST, PAUSE_SHARE = 0.01, 0.25, 0.05  # s, s
TRY = 1.0  # s that one poll may take: a port that swallows connections is tried again
FIRST_WORD, EVERY = 1.0, 5.0  # s waited until the first line about it, and between the later ones
# Lambda kills an environment whose init takes longer and runs init again inside the first invoke, once.
INIT_LIMIT, INIT_WARNING = 10.0, 9.0  # s
DECIDING = "LAMBDA_DISPATCH_PORT LAMBDA_DISPATCH_HEALTH_CHECK_PATH LAMBDA_DISPATCH_HEALTHY_STATUSES"


class Health:
    def __init__(self, options: Options, pool: AppPool) -> None:
        self.options = options
        self.pool = pool
        self.answer = "no answer yet"  # to the last poll
        self.polls = 0
        self.in_init = not options.async_init and os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "on-demand"
        self._began = time.monotonic()
        self._next_word = FIRST_WORD

    @property
    def target(self) -> str:
        """What is polled, for people."""
        where = f"{self.options.host}:{self.options.health_port or self.options.port}"
        return (
            f"tcp://{where}" if self.options.health_protocol == "tcp" else f"http://{where}{self.options.health_path}"
        )

    async def wait(self) -> None:
        """Polls until the application is healthy, however long that takes."""
        while not await self.poll():
            waited = time.monotonic() - self._began
            if waited >= self._next_word:
                self._next_word = waited + EVERY
                self.say_unhealthy(waited)
            if self.in_init and waited >= INIT_WARNING:
                self.in_init = False
                say(
                    "init limit near",
                    waited=f"{waited:.1f}s",
                    limit=f"{INIT_LIMIT:g}s",
                    effect="Lambda restarts the environment and its application",
                    fix="start faster, or set LAMBDA_DISPATCH_ASYNC_INIT=true",
                )
            await sleep(min(max(waited * PAUSE_SHARE, PAUSE_LEAST), PAUSE_MOST))
        if self.polls > 1 and self._next_word > FIRST_WORD:
            say("application healthy", waited=f"{time.monotonic() - self._began:.1f}s", polls=self.polls)

    def say_unhealthy(self, waited: float) -> None:
        say(
            "application not healthy",
            waited=f"{waited:.1f}s",
            polls=self.polls,
            check=self.target,
            answer=self.answer,
            options=DECIDING,
        )

    async def poll(self) -> bool:
        options = self.options
        message = b""
        if options.health_protocol == "http":
            head = f"GET {options.health_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            message = head.encode()
        self.polls += 1
        try:
            async with timeout(TRY):
                if message and self.pool.http2 is not None:
                    status = await self.pool.http2.status(options.health_path.encode())
                else:
                    status, _, _ = await request(self.pool, message, head_only=True)
        except NoAnswer as error:
            self.answer = str(error)
            return False
        except TimeoutError:
            self.answer = f"no answer within {TRY:g} s"
            return False
        self.answer = f"status {status}"
        return not message or options.is_healthy(status)
