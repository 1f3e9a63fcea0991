"""Which instance serves which call: pure decisions in `state` and `decide`, effects in `pool`."""
