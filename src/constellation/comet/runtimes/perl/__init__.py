"""Perl: executed in its sandbox."""
