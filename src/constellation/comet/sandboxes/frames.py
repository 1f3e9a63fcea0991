"""Frames between comet and an agent: u32 length of the body, u8 kind, body. The agent has a copy of these numbers."""

from __future__ import annotations

HEAD, DATA, ERROR, END, CONTROL = range(5)
FRAME_BYTES = 65_536
ANSWER_BYTES = 8 << 20  # of a head: a listing of a large directory


def framed(kind: int, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + bytes((kind,)) + body
