"""The Lambda service as callers see it: Invoke API, functions and their environments, asynchronous invokes."""
