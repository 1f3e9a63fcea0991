"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), with servers that may be anybody's. No I/O."""

from __future__ import annotations

from scramp import ScramClient, ScramException

MECHANISM = b"SCRAM-SHA-256"
_MAX_ITERATIONS = 100_000  # chosen: a server of somebody else's does not keep our loop busy for longer than 40 ms


class ServerUntrue(Exception):
    """The server does not know the password either, or speaks otherwise."""


class Scram:
    """One exchange: `first`, then `final` with the server's answer, then `check` with its last word."""

    def __init__(self, password: str, *, nonce: str | None = None) -> None:
        # The user is who the session's first packet says; PostgreSQL passes over a name here.
        self._client = ScramClient([MECHANISM.decode()], "*", password, c_nonce=nonce)

    def first(self) -> bytes:
        """Return the client's first message."""
        said: str = self._client.get_client_first()
        return said.encode()

    def final(self, challenge: bytes) -> bytes:
        """Return the proof. Raises `ServerUntrue`."""
        try:
            self._client.set_server_first(challenge.decode("ascii"))
            if int(self._client.iterations) > _MAX_ITERATIONS:
                raise ServerUntrue("it asks for too much work")
            proof: str = self._client.get_client_final()
        except (ScramException, ValueError) as error:
            raise ServerUntrue("its challenge is none of ours") from error
        return proof.encode()

    def check(self, last: bytes) -> None:
        """Let a server through that knows the password's verifier. Raises `ServerUntrue`."""
        try:
            self._client.set_server_final(last.decode("ascii"))
        except (ScramException, ValueError) as error:
            raise ServerUntrue("it does not know the password's verifier") from error
