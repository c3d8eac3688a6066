"""lambda-dispatch: a reverse router for AWS Lambda."""

from lambda_dispatch_core import __version__

__all__ = ["__version__"]
