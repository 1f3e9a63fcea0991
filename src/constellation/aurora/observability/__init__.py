"""What a plane is made of before it does its own work: settings, state, identity, telemetry."""
