"""The control plane: what exists, who may do what, and where it is kept."""
