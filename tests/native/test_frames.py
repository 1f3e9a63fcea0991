"""Frames survive any cut of the stream; what is not a frame is refused before anything is allocated for it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from constellation.native.errors import InputMalformed, LengthOverLimit
from constellation.native.frames import (
    EXEC_HEAD_BYTES,
    HEADER_BYTES,
    Frame,
    FrameKind,
    FrameSplitter,
    pack_exec_head,
    pack_frame,
)

FRAMES = strategies.lists(
    strategies.builds(
        Frame,
        kind=strategies.integers(0, 255),
        flags=strategies.integers(0, 255),
        call_id=strategies.integers(0, 2**32 - 1),
        body=strategies.binary(max_size=300),
    ),
    max_size=80,
)


def packed(frames):
    return b"".join(pack_frame(f.kind, f.call_id, f.body, flags=f.flags) for f in frames)


@given(FRAMES, strategies.randoms(use_true_random=False))
def test_any_cut_of_the_stream_gives_the_same_frames(frames, chance):
    stream, splitter, got = packed(frames), FrameSplitter(limit_bytes=300), []
    at = 0
    while at < len(stream):
        step = chance.choice((1, 2, 7, 64, 5000))
        got += splitter.feed(stream[at : at + step])
        at += step
    assert got == frames
    assert splitter.pending_bytes == 0


def test_every_single_cut():
    frames = [Frame(4, 0, 7, b"hello"), Frame(5, 1, 8, b""), Frame(8, 2, 9, b"x" * 40)]
    stream = packed(frames)
    for cut in range(len(stream) + 1):
        splitter = FrameSplitter(limit_bytes=100)
        assert splitter.feed(stream[:cut]) + splitter.feed(stream[cut:]) == frames


def test_header_is_as_the_protocol_says():
    assert pack_frame(FrameKind.EXEC, 0x01020304, b"abc", flags=9) == b"\0\0\0\x03\x04\x09\0\0\x01\x02\x03\x04abc"
    assert HEADER_BYTES == 12


def test_a_length_over_the_limit_is_refused_at_the_header():
    splitter = FrameSplitter(limit_bytes=10)
    assert splitter.feed(pack_frame(1, 1, bytes(10)))
    with pytest.raises(LengthOverLimit):
        splitter.feed(b"\xff\xff\xff\xff\x01\0\0\0\0\0\0\x01")


def test_reserved_bits_are_refused_after_the_good_frames_before_them():
    splitter = FrameSplitter(limit_bytes=10)
    good, bad = pack_frame(1, 1, b"ok"), b"\0\0\0\0\x01\0\0\x01\0\0\0\x01"
    assert splitter.feed(good + bad) == [Frame(1, 0, 1, b"ok")]
    with pytest.raises(InputMalformed):
        splitter.feed(b"")


def test_bodies_outlive_the_splitters_buffer():
    splitter = FrameSplitter(limit_bytes=1 << 20)
    stream = packed([Frame(5, 0, 1, b"a" * 1000)])
    assert splitter.feed(stream[:500]) == []
    (frame,) = splitter.feed(stream[500:])
    splitter.feed(packed([Frame(5, 0, 2, b"b" * 1000)])[:900])
    assert frame.body == b"a" * 1000


def test_exec_head_is_48_bytes_in_order():
    head = pack_exec_head(request_id=b"r" * 16, trace_id=b"t" * 16, span_id=b"s" * 8, remaining_ms=0x0A0B0C0D, flags=1)
    assert head == b"r" * 16 + b"t" * 16 + b"s" * 8 + b"\x0a\x0b\x0c\x0d" + b"\0\0\0\x01"
    assert len(head) == EXEC_HEAD_BYTES
    with pytest.raises(ValueError, match="16 and 8"):
        pack_exec_head(request_id=b"", trace_id=bytes(16), span_id=bytes(8), remaining_ms=1)
