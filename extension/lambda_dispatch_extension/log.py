"""One line per event on standard error, which Lambda carries to CloudWatch. Not the logging package: it costs more
start-up time than everything said here is worth."""

import sys


def say(text: str) -> None:
    sys.stderr.write(f"lambda-dispatch extension: {text}\n")
    sys.stderr.flush()
