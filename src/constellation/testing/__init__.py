"""Shipped fakes and rigs, for the tests of this package and of whoever builds on it."""
