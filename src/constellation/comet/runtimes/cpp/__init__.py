"""The C++ runtime."""
