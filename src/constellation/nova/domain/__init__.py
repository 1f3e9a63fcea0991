"""Frozen data and pure rules of the control plane: no I/O, no clock."""
