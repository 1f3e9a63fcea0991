"""R: executed in its sandbox."""
