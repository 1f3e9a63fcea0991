"""What can go wrong between a client and the platform, as one small family."""

from __future__ import annotations

from collections.abc import Mapping


class ClientError(Exception):
    """Base of everything this package raises."""


class ApiProblem(ClientError):
    """The platform refused or failed, and said how (RFC 9457).

    `body` is the whole problem; `code` is stable and meant to be matched on.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        retry_after_s: int | None = None,
        body: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.retry_after_s = retry_after_s  # whole seconds; None: the platform did not say
        self.body: Mapping[str, object] = body or {}

    def __str__(self) -> str:
        return f"{self.detail} ({self.status} {self.code})"


class Unreachable(ClientError):
    """Nothing was sent, or the connection broke; whether the platform acted is unknown after a break."""

    def __init__(self, server: str, *, reason: str, is_sent: bool) -> None:
        what = "broke the connection" if is_sent else "can not be reached"
        super().__init__(f"{server} {what}: {reason}")
        self.server, self.reason, self.is_sent = server, reason, is_sent


class NoAnswer(ClientError):
    """The server is there and did not answer in time; the work may still be going on."""

    def __init__(self, server: str, *, after_s: float) -> None:
        super().__init__(f"{server} did not answer within {after_s:g} s")
        self.server, self.after_s = server, after_s


class BadReply(ClientError):
    """The answer is not what the registry promises: another kind of server, or another version."""

    def __init__(self, server: str, operation: str, *, reason: str) -> None:
        super().__init__(f"{server} gave an answer to {operation} that this client can not read: {reason}")
        self.server, self.operation = server, operation


class BadArgument(ClientError, ValueError):
    """An argument that could never make a request: refused before anything is sent."""
