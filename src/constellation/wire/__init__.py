"""Protobuf messages of proto/ and what they mean to the domain."""
