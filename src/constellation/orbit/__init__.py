"""The everyday tool: `orbit init`, `deploy`, `invoke`, `logs`, `dev` and what goes with them."""
