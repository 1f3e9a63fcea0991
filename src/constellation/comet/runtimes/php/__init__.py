"""PHP: executed in its sandbox."""
