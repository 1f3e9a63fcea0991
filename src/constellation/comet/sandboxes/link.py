"""A connection to the agent of a sandbox: one request, then frames both ways. What comes from there is hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import SocketStream

from constellation.base.errors import ConstellationError
from constellation.base.sockets import reachable
from constellation.comet.sandboxes.frames import ANSWER_BYTES, FRAME_BYTES, HEAD, framed
from constellation.comet.strangers import connected

CONNECT_S = 10.0  # a sandbox that was just made: its agent takes 0.2 s to come up on a busy machine
ANSWER_S = 30.0  # of what the agent does at once


class AgentGone(ConstellationError):
    """The sandbox ended, or its agent does not answer, or not in our language."""

    code, http_status, retryable = "sandbox_gone", 502, True

    def __init__(self, reason: str) -> None:
        super().__init__(f"the sandbox does not answer: {reason}")


class SandboxRefused(ConstellationError):
    """What was asked for can not be done inside, as `errno` says."""

    code, http_status = "sandbox_refused", 422

    def __init__(self, number: str, message: str) -> None:
        super().__init__(message, extras={"errno": number})
        self.http_status = _STATUS.get(number, 422)
        self.code = _CODES.get(self.http_status, self.code)


_STATUS = {
    "ENOENT": 404, "EACCES": 403, "EPERM": 403, "EROFS": 403, "EEXIST": 409, "ENOTEMPTY": 409, "EISDIR": 409,
    "ENOTDIR": 409, "EXDEV": 409, "ELOOP": 409, "ENOSPC": 507, "EDQUOT": 507, "EFBIG": 413, "EMFILE": 503, "EAGAIN": 503,
    "ENOMEM": 503, "busy": 503, "ESRCH": 404, "ECONNREFUSED": 502, "invalid": 400,
}  # fmt: skip
_CODES = {
    404: "not_found", 403: "sandbox_denied", 409: "sandbox_conflict", 507: "sandbox_full", 413: "payload_too_large",
    503: "sandbox_busy", 502: "port_closed", 400: "invalid_request",
}  # fmt: skip


class AgentLink:
    """Frames of one connection. Each receive is bounded in size; time is the caller's to bound."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream, self._rest = stream, bytearray()

    async def send(self, kind: int, body: bytes = b"") -> None:
        """Send in frames, no faster than they are taken.

        Raises:
            AgentGone
        """
        try:
            for at in range(0, max(1, len(body)), FRAME_BYTES):
                await self._stream.send(framed(kind, body[at : at + FRAME_BYTES]))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise AgentGone("it hung up") from error

    async def receive(self, limit_bytes: int = FRAME_BYTES) -> tuple[int, bytes]:
        """Return the next frame.

        Raises:
            AgentGone: the connection ended, or the frame is longer than it may be.
        """
        head = await self._exactly(5)
        length = int.from_bytes(head[:4], "big")
        if length > limit_bytes:
            raise AgentGone("it sends frames that are too long")
        return head[4], await self._exactly(length)

    async def answer(self, *, within_s: float = ANSWER_S) -> dict[str, Any]:
        """Return what the agent says to the request.

        Raises:
            SandboxRefused, AgentGone
        """
        try:
            with anyio.fail_after(within_s):
                kind, body = await self.receive(ANSWER_BYTES)
        except TimeoutError as error:
            raise AgentGone(f"no answer within {within_s:g} s") from error
        found = decoded(body)
        if kind != HEAD:
            raise AgentGone("its answer is none")
        if "code" in found:
            raise SandboxRefused(str(found["code"])[:40], str(found.get("message", ""))[:500])
        return found

    async def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            try:
                self._rest += await self._stream.receive(FRAME_BYTES)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise AgentGone("it hung up") from error
        found = bytes(self._rest[:count])
        del self._rest[:count]
        return found


def decoded(body: bytes) -> dict[str, Any]:
    """Return an object that an agent sent.

    Raises:
        AgentGone: it is none.
    """
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise AgentGone("its answer is not understood") from error


@asynccontextmanager
async def asking(path: Path, request: Mapping[str, object]) -> AsyncIterator[AgentLink]:
    """Open a connection, send a request, and lend what follows. Leaving the block hangs up.

    Raises:
        AgentGone: nothing takes the connection.
    """
    try:
        with anyio.fail_after(CONNECT_S), reachable(path) as near:
            stream = await connected(near)
    except (OSError, TimeoutError) as error:
        raise AgentGone("nothing listens") from error
    try:
        link = AgentLink(stream)
        # The first frame is the agent's to bound: a request may be longer than what follows.
        try:
            await stream.send(framed(HEAD, msgspec.json.encode(request)))
        except anyio.BrokenResourceError as error:
            raise AgentGone("it hung up") from error
        yield link
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)


async def ask(path: Path, request: Mapping[str, object], *, within_s: float = ANSWER_S) -> dict[str, Any]:
    """Ask for what is answered at once; errors as in `AgentLink.answer`."""
    async with asking(path, request) as link:
        return await link.answer(within_s=within_s)
