"""The bytes of PostgreSQL's protocol: cut the same however they arrive, and refused when they are none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.comet.databases.wire import (
    BEGINNING_BYTES,
    FROM_GUEST,
    FROM_SERVER,
    STARTUP_BYTES,
    WHOLE_BYTES,
    CancelRequest,
    EncryptionRequest,
    Refused,
    Splitter,
    Startup,
    cancel_request,
    error,
    error_fields,
    message,
    older_protocol,
    split_first,
    startup,
    tls_request,
)

KINDS = st.sampled_from(sorted(map(chr, FROM_GUEST)))
BODIES = st.one_of(
    st.binary(max_size=40),
    st.integers(WHOLE_BYTES - 8, WHOLE_BYTES + 2 * BEGINNING_BYTES).map(lambda size: b"x" * size),
)
MESSAGES = st.lists(st.tuples(KINDS, BODIES), max_size=6)


def fed(splitter, data, sizes):
    """Feed data in pieces of the sizes, over and over; return the pieces that came out."""
    out, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        out += splitter.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return out


@settings(deadline=None)  # a busy machine is no fault
@given(MESSAGES, st.lists(st.integers(1, 9000), min_size=1, max_size=4))
def test_messages_are_the_same_however_they_arrive(messages, sizes):
    data = b"".join(message(kind, body) for kind, body in messages)
    pieces = fed(Splitter(FROM_GUEST, max_bytes=1 << 20), data, sizes)
    assert b"".join(piece.raw for piece in pieces) == data
    firsts = [piece for piece in pieces if piece.is_first]
    assert [(chr(piece.kind), piece.size) for piece in firsts] == [(kind, len(body) + 5) for kind, body in messages]
    assert sum(piece.is_last for piece in pieces) == len(messages)
    for piece, (_, body) in zip(firsts, messages, strict=True):
        if piece.is_last:
            assert piece.body == body
        else:
            assert len(piece.raw) >= BEGINNING_BYTES


def test_messages_arrive_byte_by_byte():
    splitter = Splitter(FROM_GUEST, max_bytes=1 << 20)
    data = message("Q", b"SELECT 1\0") + message("X")
    pieces = fed(splitter, data, [1])
    assert [chr(piece.kind) for piece in pieces] == ["Q", "X"]
    assert splitter.held == b""


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=200))
def test_rubbish_is_cut_or_refused_and_never_kept_beyond_a_bound(data):
    splitter = Splitter(FROM_SERVER, max_bytes=1 << 20)
    try:
        pieces = splitter.feed(data)
    except Refused:
        return
    assert b"".join(piece.raw for piece in pieces) + splitter.held == data


def test_a_long_message_is_not_kept():
    splitter = Splitter(FROM_GUEST, max_bytes=1 << 30)
    head = b"d" + struct.pack("!I", (1 << 29) + 4)
    assert len(splitter.feed(head + b"x" * BEGINNING_BYTES)) == 1
    for _ in range(3):
        (piece,) = splitter.feed(b"x" * 60_000)
        assert len(piece.raw) == 60_000
        assert not piece.is_first
        assert splitter.held == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"p\0\0\0\x04", "08P01"),  # a password: nobody asked for one
        (b"F\0\0\0\x08", "08P01"),  # a function call
        (b"\0", "08P01"),
        (b"Q\0\0\0\x03", "08P01"),
        (b"Q\xff\xff\xff\xff", "54000"),
        (b"Q" + struct.pack("!I", (1 << 20) + 5), "54000"),
    ],
)
def test_what_no_guest_may_say_is_refused_at_once(data, code):
    with pytest.raises(Refused) as refused:
        Splitter(FROM_GUEST, max_bytes=1 << 20).feed(data)
    assert refused.value.code == code


def test_a_first_packet_is_read_byte_by_byte():
    data = startup({"user": "ann", "database": "orders"})
    for cut in range(len(data)):
        assert split_first(data[:cut]) is None
    found, rest = split_first(data + b"Q")
    assert found == Startup(minor=0, options=(), parameters={"user": "ann", "database": "orders"})
    assert rest == b"Q"


def test_first_packets_of_other_kinds():
    assert split_first(tls_request()) == (EncryptionRequest(), b"")
    assert split_first(cancel_request(7, b"abcd")) == (CancelRequest(pid=7, key=b"abcd"), b"")
    newer = struct.pack("!II", 8 + 20, 3 << 16 | 2) + b"user\0a\0_pq_.x\0on\0\0"
    newer = struct.pack("!I", len(newer)) + newer[4:]
    found, _ = split_first(newer)
    assert (found.minor, found.options, found.parameters) == (2, ("_pq_.x",), {"user": "a"})
    assert older_protocol(("_pq_.x",)) == message("v", struct.pack("!II", 0, 1) + b"_pq_.x\0")


def packet(code, body=b""):
    return struct.pack("!II", 8 + len(body), code) + body


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", 7),
        struct.pack("!I", STARTUP_BYTES + 1),
        packet(2 << 16),
        packet(4 << 16),
        packet(80877103, b"x"),
        packet(80877103) + b"smuggled",
        packet(80877102, b"\0\0\0\1"),
        packet(80877102, b"x" * 300),
        packet(3 << 16, b"user\0a"),
        packet(3 << 16, b"user\0a\0"),
        packet(3 << 16, b"user\0\0"),
        packet(3 << 16, b"\0a\0\0"),
        packet(3 << 16, b"user\0\xff\0\0"),
    ],
)
def test_first_packets_that_are_none_are_refused(data):
    with pytest.raises(Refused):
        split_first(data)


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=300))
def test_any_bytes_are_a_first_packet_or_refused_or_too_few(data):
    try:
        found = split_first(data)
    except Refused:
        return
    assert found is None or isinstance(found[0], Startup | CancelRequest | EncryptionRequest)


def test_an_error_is_read_as_it_was_written():
    said = error("54000", "too\0much", severity="FATAL")
    assert error_fields(said[5:]) == {"S": "FATAL", "V": "FATAL", "C": "54000", "M": "too much"}
