"""Programs named bootstrap."""
