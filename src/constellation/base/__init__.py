"""The floor under every plane: errors, clocks, ids, units. Knows nothing of serverless."""
