"""`lambda-dispatch healthcheck`: whether the router of this configuration lives or is ready, for orchestrators."""

import http.client
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from lambda_dispatch.errors import ConfigError
from lambda_dispatch.exits import EX_UNAVAILABLE, EX_USAGE

HELP = """\
usage: lambda-dispatch healthcheck [--ready] [OPTIONS OF THE ROUTER]
       lambda-dispatch healthcheck http://HOST:PORT/PATH

Asks the admin port (AdminHost, AdminPort, from the environment or the options) for /livez, with --ready for /readyz;
or that URL. Exit code 0: yes. 1: the answer is no, or none came within 3 s. 69: AdminPort is -1. 64, 78: the URL or the
configuration is wrong.
"""
PATIENCE = 3.0  # s
MAX_SHOWN = 200  # bytes of an answer
ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listened on, but not to be connected to


def main(arguments: Sequence[str]) -> int:
    from lambda_dispatch import config

    if "--help" in arguments or "-h" in arguments:
        print(HELP, end="")
        return 0
    if arguments and not arguments[0].startswith("-"):
        return ask_url(arguments)
    try:
        loaded = config.load(os.environ, [each for each in arguments if each != "--ready"])
    except ConfigError as error:
        for problem in error.problems:
            print(f"lambda-dispatch: {problem}", file=sys.stderr)
        return error.exit_code
    if loaded.admin_port < 0:
        print("lambda-dispatch: AdminPort is -1: there is nothing to ask; set AdminPort", file=sys.stderr)
        return EX_UNAVAILABLE
    host = loaded.admin_host.strip("[]")
    return ask(ANY.get(host, host), loaded.admin_port, "/readyz" if "--ready" in arguments else "/livez")


def ask_url(arguments: Sequence[str]) -> int:
    """As the image's launcher does without Python."""
    try:
        url = urlsplit(arguments[0])
        host, port = url.hostname, url.port or 80
    except ValueError:
        host = None
    if len(arguments) != 1 or not host or url.scheme != "http":
        print(f"lambda-dispatch: healthcheck: {' '.join(arguments)} is not http://HOST[:PORT]/PATH", file=sys.stderr)
        return EX_USAGE
    return ask(host, port, urlunsplit(("", "", url.path or "/", url.query, "")))


def ask(host: str, port: int, path: str) -> int:
    client = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        said = answer.read(MAX_SHOWN).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"lambda-dispatch: {path} of {host} port {port}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        client.close()
    if answer.status // 100 != 2:
        print(f"lambda-dispatch: {path} of {host} port {port}: {answer.status} {said}", file=sys.stderr)
        return 1
    print(said)
    return 0
