"""SCRAM-SHA-256: the example of RFC 7677, and servers that do not know the password."""

from __future__ import annotations

import pytest

from constellation.comet.databases.scram import Scram, ServerUntrue

NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
PROOF = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="


def test_what_is_said_proves_the_password_to_both():
    scram = Scram("pencil", nonce=NONCE)
    assert scram.first() == b"n,,n=*,r=" + NONCE.encode()
    assert scram.final(CHALLENGE).startswith(PROOF)
    with pytest.raises(ServerUntrue):
        scram.check(b"v=AAAA")


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",  # it has added nothing
        b"r=rOprNGfwEbeRWgbNEkqOx,s=??,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=999999999",  # minutes of work
        b"r=rOprNGfwEbeRWgbNEkqO\xff,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    ],
)
def test_challenges_that_are_none_are_refused(challenge):
    with pytest.raises(ServerUntrue):
        Scram("pencil", nonce=NONCE).final(challenge)


def test_a_server_that_speaks_before_its_turn_is_refused():
    with pytest.raises(ServerUntrue):
        Scram("pencil").check(b"v=")
