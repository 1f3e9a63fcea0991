"""What functions ask of the platform while they run: their state, other functions, the steps of durable executions."""
