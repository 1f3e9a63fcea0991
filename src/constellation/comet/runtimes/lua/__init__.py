"""Lua: executed in its sandbox."""
