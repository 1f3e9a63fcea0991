"""Fakes and rigs that pass the same contracts as the real parts."""
