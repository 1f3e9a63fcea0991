"""Julia: executed in its sandbox."""
