"""Interactive sandboxes: machines that a user works in, beside those that serve functions."""
