"""Durable calls: claimed by lease, run once an attempt, retried, and buried when nothing helps."""
