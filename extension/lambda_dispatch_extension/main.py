"""`lambda-dispatch extension [-- COMMAND ...]`"""

import os
import sys
from collections.abc import Sequence

from lambda_dispatch_extension.log import say

USAGE = """\
usage: lambda-dispatch extension [-- COMMAND ...]

Runs next to a web application inside an AWS Lambda environment: waits until the application is healthy, and relays to
it the requests that the router sends.

  -- COMMAND ...   start the application too; it gets its port in PORT and LAMBDA_DISPATCH_PORT.
                   Outside Lambda (AWS_LAMBDA_RUNTIME_API is not set) this only runs COMMAND.

Options are environment variables LAMBDA_DISPATCH_*; docs/extension.md lists them.
"""
EX_USAGE = 64  # sysexits.h
EX_CONFIG = 78
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # a shell's codes for a command that cannot be run


def main(argv: list[str]) -> int:
    command: list[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1 :]
        if not command:
            say("usage error", cause="a command must follow --")
            return EX_USAGE
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if argv:
        sys.stderr.write(f"lambda-dispatch extension: unknown argument {argv[0]!r}\n\n{USAGE}")
        return EX_USAGE

    from lambda_dispatch_extension.options import OptionError, load, runtime_api

    try:
        options = load(os.environ, say)
    except OptionError as error:
        say("start failed", cause=error)
        return EX_CONFIG
    if command and not runtime_api(os.environ):
        return run_outside_lambda(command, options.port)

    from lambda_dispatch_extension.lambda_api import ApiError
    from lambda_dispatch_extension.loop import Loop
    from lambda_dispatch_extension.service import serve

    loop = Loop()
    try:
        return int(loop.run_until_complete(serve(options, command)))
    except ApiError as error:
        say("start failed", cause=error)
        return EX_CONFIG
    finally:
        loop.close()


def run_outside_lambda(command: Sequence[str], port: int) -> int:
    """Becomes the application, with the port it has in Lambda: the image runs anywhere."""
    from lambda_dispatch_extension.app_process import environment

    say("not in Lambda", cause="AWS_LAMBDA_RUNTIME_API is not set", action="run the command alone", port=port)
    try:
        os.execvpe(command[0], list(command), environment(os.environ, port))
    except OSError as error:
        say("command not started", command=command[0], cause=error.strerror)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
