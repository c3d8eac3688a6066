"""Pairs requests with free slots."""
