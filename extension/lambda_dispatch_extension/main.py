"""`lambda-dispatch extension [-- COMMAND ...]`"""

import os
import sys

from lambda_dispatch_extension.log import say

USAGE = """\
usage: lambda-dispatch extension [-- COMMAND ...]

Runs beside an application inside an AWS Lambda environment: registers with Lambda, waits until the application is
healthy, and relays to it what the router sends. With COMMAND it starts the application itself.

Everything is set by environment variables LAMBDA_DISPATCH_*; docs/extension.md lists them.
"""
EX_USAGE = 64  # sysexits.h
EX_CONFIG = 78


def main(argv: list[str]) -> int:
    command: list[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1 :]
        if not command:
            say("a command must follow --")
            return EX_USAGE
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if argv:
        sys.stderr.write(USAGE)
        return EX_USAGE

    from lambda_dispatch_extension.options import OptionError, load

    try:
        options = load(os.environ, say)
    except OptionError as error:
        say(str(error))
        return EX_CONFIG

    import uvloop

    from lambda_dispatch_extension.lambda_api import ApiError
    from lambda_dispatch_extension.service import serve

    loop = uvloop.new_event_loop()
    try:
        return int(loop.run_until_complete(serve(options, command)))
    except ApiError as error:
        say(str(error))
        return EX_CONFIG
    finally:
        loop.close()
