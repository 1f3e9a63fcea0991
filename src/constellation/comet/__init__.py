"""Isolation and execution: from a function's name to an answer out of a sandbox."""
