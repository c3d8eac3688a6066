"""Who may ask: no foreign web page, and only with the token where one is set (compared in constant time)."""

import base64
import binascii
import dataclasses
import hmac

from lambda_dispatch_net.http_server import Request, refuse_web_page


class Refusal(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Gate:
    def __init__(self, host: str, token: str) -> None:
        self._host = host
        self._token = token.encode()

    def check(self, request: Request) -> None:
        """Raises Refusal."""
        judged = request
        if request.header("sec-fetch-mode") == "navigate":
            # A link on another page (a runbook) may lead here: that page cannot read what its reader then sees.
            headers = [each for each in request.headers if each[0] != "sec-fetch-site"]
            judged = dataclasses.replace(request, headers=headers)
        refused = refuse_web_page(judged, self._host)
        if refused is not None:
            raise Refusal(refused.status, refused.body.decode().strip())
        if self._token and not self._known(request.header("authorization") or ""):
            raise Refusal(401, "a bearer token is needed: Authorization: Bearer AdminToken")

    def _known(self, authorization: str) -> bool:
        scheme, _, value = authorization.partition(" ")
        given = value.strip().encode("utf-8", "replace")
        if scheme.lower() == "basic":
            # For browsers: any user name, the token as the password.
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self._token)
