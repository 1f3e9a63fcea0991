"""Bun: executed in its sandbox."""
