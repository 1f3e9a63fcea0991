"""Fakes for time and faults, and rigs of real parts. A fake passes the contract tests of the thing it stands for."""
