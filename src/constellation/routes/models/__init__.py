"""What travels in the bodies of the public API. Requests refuse unknown fields; replies may grow new ones."""
