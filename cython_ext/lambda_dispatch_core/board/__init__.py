"""The board: shared memory that every process maps."""
