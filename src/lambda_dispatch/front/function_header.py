"""X-Lambda-Name: which functions a client may choose. Off unless configured."""

from __future__ import annotations

import fnmatch
import hmac

from lambda_dispatch import function_name
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.dispatch.model import Pool
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Hub


class FunctionGate:
    def __init__(
        self, config: RouterConfig, board: Board, hub: Hub, matcher: Matcher, default: Pool, configured: bytes
    ) -> None:
        self._secret = config.function_secret.encode()
        self._patterns = [p.strip() for p in config.function_allow.split(",") if p.strip()]
        self._board = board
        self._hub = hub
        self._matcher = matcher
        self._default = default
        self._configured = configured

    def pool(self, name: bytes, secret: bytes) -> Pool | tuple[int, str]:
        """The pool of the function a client names, or the status and reason of its refusal."""
        if self._secret and not hmac.compare_digest(secret, self._secret):
            return 403, "function_secret"
        text = name.decode("ascii", "replace")
        if function_name.parse(text) is None:
            return 400, "bad_function_name"
        if name == self._configured:
            return self._default
        if self._patterns and not any(fnmatch.fnmatchcase(text, pattern) for pattern in self._patterns):
            return 403, "function_not_allowed"
        found = self._board.claim_pool(name, self._hub.now)
        if found is None:
            return 503, "too_many_functions"
        return self._matcher.add_pool(found[0], name, found[1])
