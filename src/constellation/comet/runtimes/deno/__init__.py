"""Deno: executed in its sandbox."""
