"""The wait queue."""
