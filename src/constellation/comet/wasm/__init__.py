"""The `wasm` backend: one sandbox a tenant, in which each call has a fresh store."""
