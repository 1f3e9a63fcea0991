"""The event ingestion plane: what is accepted now and run later."""
