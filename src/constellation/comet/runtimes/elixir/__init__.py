"""Elixir: executed in its sandbox."""
