"""Fakes for time and faults. Each passes the contract tests of the thing that it stands for."""
