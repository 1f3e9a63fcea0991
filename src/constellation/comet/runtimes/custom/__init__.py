"""Programs that the handler names."""
