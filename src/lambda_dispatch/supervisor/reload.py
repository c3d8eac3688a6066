"""The supervisor takes a new configuration and certificate, and passes them to its children (lambda_dispatch.settings).

What a reload changes at once stands in config/live.py. A configuration that cannot be used changes nothing.
"""

import time
from collections.abc import Callable
from typing import Any

from lambda_dispatch.config import RouterConfig, live
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.settings import Writer
from lambda_dispatch.supervisor.certificate import Certificate
from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.overrides import RouterOverrides
from lambda_dispatch_core.board.board import Board

STAYS = "the last good configuration stays in use"


class Reload:
    def __init__(
        self,
        config: RouterConfig,
        read_again: Callable[[], RouterConfig] | None,
        certificate: Certificate,
        settings: Writer,
        overrides: RouterOverrides,
        board: Board,
    ) -> None:
        self.config = config  # what processes that start now are given
        self._read_again = read_again
        self._certificate = certificate
        self._settings = settings
        self._overrides = overrides
        self._board = board

    def carry_out(self, by: str) -> dict[str, Any]:
        """Reads configuration and certificate again. The answer says what became of what."""
        answer = self._carry_out(by)
        self._board.note_reload(answer["reloaded"], time.time_ns())
        return answer

    def _carry_out(self, by: str) -> dict[str, Any]:
        try:
            new = self._read_again() if self._read_again is not None else self.config
        except ConfigError as error:
            return self._refused(by, error.problems)
        except Exception as error:  # a fault in the reading must not end a router that serves
            return self._refused(by, [f"{type(error).__name__}: {error}"])
        done = live.reload(self.config, new)
        self._certificate.move(done.config)
        renewed = self._certificate.renew()
        try:
            self._settings.write(done.config, self._certificate.pair)
        except (OSError, ValueError) as error:
            self._certificate.move(self.config)
            return self._refused(by, [str(error)])
        self.config = done.config
        log.configure("supervisor", done.config.log_level, done.config.log_format)
        self._overrides.configure(done.config.log_level)
        for warning in done.config.warnings:
            log.warning("configuration questionable", detail=warning)
        log.info("configuration reloaded", by=by, live=",".join(done.live) or "none", certificate=renewed)
        for name, why in done.rolling.items():
            log.warning("rolling restart needed", option=name, reason=why, action="send SIGUSR1")
        for name, why in done.restart.items():
            log.warning("restart needed", option=name, reason=why, action="start a new router")
        return {
            "reloaded": True,
            "certificate": renewed,
            "live": done.live,
            "rolling_restart_needed": done.rolling,
            "restart_needed": done.restart,
        }

    def _refused(self, by: str, problems: list[str]) -> dict[str, Any]:
        for problem in problems:
            log.error("reload failed", by=by, error=problem, action=STAYS)
        return {"reloaded": False, "problems": problems}
