"""The Rust runtime."""
