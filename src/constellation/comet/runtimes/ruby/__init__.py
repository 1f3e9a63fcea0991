"""Ruby: executed in its sandbox."""
