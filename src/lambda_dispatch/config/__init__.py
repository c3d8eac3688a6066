"""The router's configuration: one frozen object, read and checked once, before anything else happens.

Names in the environment begin with LAMBDA_DISPATCH_, in any case, with or without underscores. A flag wins over the
environment, the environment over the file, the file over the default.
"""

from lambda_dispatch.config.help import help_text
from lambda_dispatch.config.options import (
    DEFAULT_CERT,
    DEFAULT_KEY,
    FOREIGN,
    MAX_WORKERS,
    OPTIONS,
    PREFIX,
    Option,
    RouterConfig,
    default_of,
    flag_of,
    key_of,
)
from lambda_dispatch.config.reading import load

__all__ = [
    "DEFAULT_CERT",
    "DEFAULT_KEY",
    "FOREIGN",
    "MAX_WORKERS",
    "OPTIONS",
    "PREFIX",
    "Option",
    "RouterConfig",
    "default_of",
    "flag_of",
    "help_text",
    "key_of",
    "load",
]
