"""The contract that each isolator implements."""
