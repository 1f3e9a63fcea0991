"""The Scala runtime."""
