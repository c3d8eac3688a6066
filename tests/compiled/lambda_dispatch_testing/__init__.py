"""The core seen from Python, for tests and benchmarks; not part of any wheel."""
