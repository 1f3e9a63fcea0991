"""The Java runtime."""
