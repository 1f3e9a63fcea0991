"""What nova does by itself, beside answering requests."""
