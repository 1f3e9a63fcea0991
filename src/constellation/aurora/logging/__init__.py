"""How every plane writes its log: events with fields, no secrets, no local variables in traces."""
