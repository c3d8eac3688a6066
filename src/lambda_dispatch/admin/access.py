"""Who may ask and who may act: no foreign web page, and only with a token where one is set.

Two tokens: AdminToken reads and acts, AdminReadToken reads. Each may stand in a file instead, which is read again when
it has changed. Tokens are compared in constant time.
"""

import base64
import binascii
import dataclasses
import hmac
import os
import stat

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.telemetry import log
from lambda_dispatch_net.http_server import Request, refuse_web_page

MAX_TOKEN = 1024  # bytes
MIN_TOKEN = 16


class Refusal(Exception):
    def __init__(self, status: int, why: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers


class Token:
    """A secret from the configuration or from a file."""

    def __init__(self, name: str, value: str, path: str) -> None:
        self._name = name
        self._value = value.encode()
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self.is_set = bool(value or path)

    def matches(self, given: bytes) -> bool:
        if self._path:
            self._look()
        return bool(self._value) and hmac.compare_digest(given, self._value)

    def _look(self) -> None:
        """A file that cannot be used leaves the last good token in place."""
        try:
            found = os.stat(self._path)
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is no regular file")
            with open(self._path, "rb") as file:
                value = file.read(MAX_TOKEN + 2).strip()
            if not MIN_TOKEN <= len(value) <= MAX_TOKEN or not all(0x21 <= byte <= 0x7E for byte in value):
                raise ValueError(f"it must hold {MIN_TOKEN} to {MAX_TOKEN} printable characters without spaces")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            log.limited(log.WARNING, "admin key not read", option=self._name, file=self._path, error=why)
        else:
            self._value = value


class Gate:
    def __init__(self, config: RouterConfig) -> None:
        self._host = config.admin_host
        self._acts = Token("AdminTokenFile", config.admin_token, config.admin_token_file)
        self._reads = Token("AdminReadTokenFile", config.admin_read_token, config.admin_read_token_file)
        # Where there is a token, it is asked for.
        self._open_control = config.admin_open_control and not self._acts.is_set
        self._guarded = (self._acts.is_set or self._reads.is_set) and not config.admin_read_only

    @property
    def control(self) -> str:
        """How commands are taken: "open", "token" or "off"."""
        return "open" if self._open_control else "token" if self._acts.is_set else "off"

    def check(self, request: Request) -> None:
        """Whether it may read. Raises Refusal."""
        judged = request
        if request.header("sec-fetch-mode") == "navigate":
            # A link on another page (a runbook) may lead here: that page cannot read what its reader then sees.
            headers = [each for each in request.headers if each[0] != "sec-fetch-site"]
            judged = dataclasses.replace(request, headers=headers)
        self._refuse_page(judged)
        if self._guarded and not self._role(request):
            raise Refusal(
                401,
                "a bearer token is needed: Authorization: Bearer AdminToken",
                (("www-authenticate", 'Basic realm="lambda-dispatch"'),),
            )

    def check_command(self, request: Request) -> None:
        """Whether it may act. Raises Refusal."""
        self._refuse_page(request)
        if self._open_control:
            return
        if not self._acts.is_set:
            raise Refusal(403, "commands are off here: set AdminToken or AdminTokenFile, or use lambda-dispatch ctl")
        role = self._role(request)
        if not role:
            # Not Basic: the page asks for the token itself.
            challenge = (("www-authenticate", 'Bearer realm="lambda-dispatch"'),)
            raise Refusal(401, "a bearer token is needed: Authorization: Bearer AdminToken", challenge)
        if role != "acts":
            raise Refusal(403, "AdminReadToken may only read; commands need AdminToken")

    def _refuse_page(self, request: Request) -> None:
        refused = refuse_web_page(request, self._host)
        if refused is not None:
            raise Refusal(refused.status, refused.body.decode().strip())

    def _role(self, request: Request) -> str:
        given = credential(request.header("authorization") or "")
        # Both are always compared.
        acts, reads = self._acts.matches(given), self._reads.matches(given)
        return "acts" if acts else "reads" if reads else ""


def credential(authorization: str) -> bytes:
    """The token that was presented; empty when it was none."""
    scheme, _, value = authorization.partition(" ")
    given = value.strip().encode("utf-8", "replace")
    if scheme.lower() == "bearer":
        return given
    if scheme.lower() != "basic":
        return b""
    # For browsers: any user name, the token as the password.
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
