"""The sans-I/O core: bytes in, events out; commands in, bytes out. No socket, no clock, no log."""

__version__ = "0.1.0"
