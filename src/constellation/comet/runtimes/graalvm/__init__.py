"""Java as a program of its own: built in a sandbox."""
