"""Each process's own metrics, and how they are labelled."""
