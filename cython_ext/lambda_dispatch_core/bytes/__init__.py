"""Bytes: cursors, buffers, header fields, atomics, and the limits that stand before each allocation."""
