"""Credentials: what a key looks like and whose it is."""
