"""Errors that end a start, each with the exit code that says so."""

from lambda_dispatch.exits import EX_CONFIG, EX_UNAVAILABLE


class StartError(Exception):
    exit_code = EX_UNAVAILABLE


class PortError(StartError):
    """A port cannot be listened on."""


class ConfigError(StartError):
    """The configuration cannot be used. Every problem found is listed, each with its way out."""

    exit_code = EX_CONFIG

    def __init__(self, problems: list[str], warnings: tuple[str, ...] = ()) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.warnings = warnings  # a name that is not known is often the cause of one that is not set


class CertificateError(StartError):
    """Certificate and key cannot be used."""

    exit_code = EX_CONFIG
