"""One execution environment: its processes, and the Runtime and Extensions APIs that they speak."""
