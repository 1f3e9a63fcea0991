"""Node.js: executed in its sandbox."""
