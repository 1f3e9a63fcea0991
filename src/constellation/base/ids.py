"""Identifiers: distinct types, and UUIDv7, whose order is the order of birth."""

from __future__ import annotations

import os
import time
from typing import NewType
from uuid import UUID

InstanceId = NewType("InstanceId", str)
RequestId = NewType("RequestId", UUID)


def uuid7(unix_ms: int | None = None) -> UUID:
    """Return a fresh UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 74 random bits."""
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    noise = int.from_bytes(os.urandom(10), "big")
    value = (ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (noise >> 68 & 0xFFF) << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    return UUID(int=value)


def uuid7_time_s(value: UUID) -> float:
    """Return the Unix time in seconds at which a UUIDv7 was made."""
    return (value.int >> 80) / 1000
