from __future__ import annotations

import socket
import struct

import pytest

from constellation.zenith.peer import answer, question

CLIENT, SERVER = ("127.0.0.1", 40_000), ("127.0.0.1", 9000)


def reply(asked, *, uid=1000, state=1, family=None, socket_id=None, sequence=7, kind=20):
    body = bytes([family if family is not None else asked.family, state, 0, 0])
    body += (socket_id if socket_id is not None else asked.socket_id) + bytes(12)
    body += struct.pack("=IIIII", 0, 0, 0, uid, 4711)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body


def test_the_question_is_one_exact_lookup():
    asked = question(CLIENT, SERVER, sequence=7)
    length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", asked.message)
    assert (length, kind, flags, sequence) == (len(asked.message), 20, 1, 7)  # a request, no dump
    assert asked.message[16:18] == bytes([socket.AF_INET, socket.IPPROTO_TCP])
    assert struct.unpack_from("!HH", asked.message, 24) == (40_000, 9000)
    assert asked.message[28:32] == socket.inet_aton("127.0.0.1")
    assert asked.message[-8:] == b"\xff" * 8


@pytest.mark.parametrize(
    ("client", "server", "family"),
    [
        ("127.0.0.1", "127.0.0.1", socket.AF_INET),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", socket.AF_INET),
        ("::1", "::1", socket.AF_INET6),
        ("fe80::1%lo", "fe80::1%lo", socket.AF_INET6),
    ],
)
def test_the_family_is_that_of_the_connection(client, server, family):
    assert question((client, 1), (server, 2), sequence=1).family == family


@pytest.mark.parametrize(("client", "server"), [("127.0.0.1", "::1"), ("localhost", "127.0.0.1"), ("", "127.0.0.1")])
def test_what_is_no_pair_of_addresses_is_refused(client, server):
    with pytest.raises(ValueError):
        question((client, 1), (server, 2), sequence=1)


def test_an_established_socket_names_its_owner():
    asked = question(CLIENT, SERVER, sequence=7)
    assert answer(reply(asked), asked, sequence=7) == 1000
    assert answer(reply(asked, uid=0), asked, sequence=7) == 0


def test_a_mapped_socket_is_the_same_connection():
    asked = question(("::ffff:127.0.0.1", 40_000), ("::ffff:127.0.0.1", 9000), sequence=7)
    mapped = bytes(10) + b"\xff\xff" + socket.inet_aton("127.0.0.1")
    shown = struct.pack("!HH", 40_000, 9000) + mapped + mapped
    assert answer(reply(asked, family=socket.AF_INET6, socket_id=shown), asked, sequence=7) == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": 6},  # TIME_WAIT: the kernel shows uid 0
        {"state": 10},  # a listener on the client's port
        {"state": 8},
        {"sequence": 8},
        {"kind": 2},  # an error
        {"socket_id": bytes(36)},
        {"socket_id": struct.pack("!HH", 40_001, 9000) + bytes(32)},
        {"uid": 65534},  # nobody in particular
        {"family": socket.AF_UNIX},
    ],
)
def test_any_other_reply_names_nobody(wrong):
    asked = question(CLIENT, SERVER, sequence=7)
    assert answer(reply(asked, **wrong), asked, sequence=7) is None


def test_a_cut_reply_names_nobody():
    asked = question(CLIENT, SERVER, sequence=7)
    whole = reply(asked)
    for length in range(len(whole)):
        assert answer(whole[:length], asked, sequence=7) is None
