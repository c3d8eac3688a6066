"""The embedded Lambda: its command lines, the service as callers see it, and execution environments."""
