"""The Zig runtime."""
