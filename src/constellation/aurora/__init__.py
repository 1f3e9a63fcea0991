"""Observability: metrics, logs, and the health of every plane."""
