"""The C runtime."""
