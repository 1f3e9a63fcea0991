"""Shipped fakes and rigs: what tests of several planes stand on."""
