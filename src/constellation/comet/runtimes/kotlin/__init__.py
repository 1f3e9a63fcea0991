"""The Kotlin runtime."""
