"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), for passwords that are plain ASCII. No I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

MECHANISM = b"SCRAM-SHA-256"
_MAX_ITERATIONS = 100_000  # chosen: a server of somebody else's does not keep our loop busy for longer than 40 ms


class ServerUntrue(Exception):
    """The server does not know the password either, or speaks otherwise."""


class Scram:
    """One exchange: `first`, then `final` with the server's answer, then `check` with its last word."""

    def __init__(self, password: str, *, nonce: str = "") -> None:
        self._password = password.encode()
        self._nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self._bare = f"n=,r={self._nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """Return the client's first message."""
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """Return the proof. Raises `ServerUntrue`."""
        given = _attributes(challenge)
        try:
            nonce, salt, count = given["r"], base64.b64decode(given["s"], validate=True), int(given["i"])
        except (KeyError, ValueError, binascii.Error) as error:
            raise ServerUntrue("its challenge is none") from error
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce) or not 1 <= count <= _MAX_ITERATIONS:
            raise ServerUntrue("its challenge is none of ours")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, count)
        client = hmac.digest(salted, b"Client Key", "sha256")
        unproven = f"c=biws,r={nonce}"
        said = f"{self._bare},{challenge.decode()},{unproven}".encode()
        signature = hmac.digest(hashlib.sha256(client).digest(), said, "sha256")
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
        return f"{unproven},p={base64.b64encode(proof).decode()}".encode()

    def check(self, last: bytes) -> None:
        """Let a server through that knows the password's verifier. Raises `ServerUntrue`."""
        expected = base64.b64encode(self._signature).decode()
        if not self._signature or not hmac.compare_digest(_attributes(last).get("v", ""), expected):
            raise ServerUntrue("it does not know the password's verifier")


def _attributes(text: bytes) -> dict[str, str]:
    try:
        parts = text.decode("ascii").split(",")
    except UnicodeDecodeError as error:
        raise ServerUntrue("its message is not ASCII") from error
    return {part[0]: part[2:] for part in parts if part[1:2] == "="}
