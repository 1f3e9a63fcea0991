"""One call from the caller's request to the recorded answer."""
