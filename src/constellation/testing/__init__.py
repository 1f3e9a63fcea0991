"""Fakes and rigs for tests, ours and those of others who build on these planes."""
