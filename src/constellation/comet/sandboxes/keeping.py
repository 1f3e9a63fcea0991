"""The keeper, as comet sees it: started when it is first needed, asked over its socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import msgspec
import structlog

from constellation.base.errors import ConstellationError
from constellation.base.sockets import reachable
from constellation.base.statedir import make_private
from constellation.comet.sandboxes.keeper import SOCKET
from constellation.comet.sandboxes.wanted import Answer, Question, Wanted, encoded, socket_of

_log = structlog.get_logger()
_START_S = 30.0  # chosen: an interpreter with its imports on a loaded machine
_ANSWER_S = 300.0  # the longest is a copy
_LIST_S = 10.0  # comet's start waits for it
_ANSWER_BYTES = 16 << 20
_POLL_S = 0.02


class KeeperFailed(ConstellationError):
    """The process that holds sandboxes could not do it."""

    code, http_status, retryable = "sandbox_failed", 503, True

    def __init__(self, reason: str) -> None:
        super().__init__(f"the keeper of sandboxes: {reason}")


class PauseUnavailable(ConstellationError):
    """The host can not stop a sandbox, or this one does not come to rest."""

    code, http_status = "pause_unavailable", 409

    def __init__(self, reason: str) -> None:
        super().__init__(f"the sandbox can not be paused: {reason}")


class ForkFailed(ConstellationError):
    """The files of a sandbox could not be copied."""

    code, http_status = "fork_failed", 409

    def __init__(self, reason: str) -> None:
        super().__init__(f"the sandbox can not be forked: {reason}")


class Keeping:
    """Questions to the keeper of this comet's state directory."""

    def __init__(self, run_dir: Path, *, group: str, uid_base: int) -> None:
        self._run_dir, self._group, self._uid_base = run_dir, group, uid_base
        self._starting = anyio.Lock()

    def socket_of(self, sandbox_id: str) -> Path:
        """Return where the agent of a sandbox accepts connections."""
        return socket_of(self._run_dir, sandbox_id)

    async def list(self) -> Answer:
        """Return what lives and what ended; nothing when no keeper runs."""
        return await self._try(Question(op="list")) or Answer()

    async def create(self, wanted: Wanted) -> None:
        """Make a sandbox; its agent may still be on its way up. Raises `KeeperFailed`."""
        question = Question(op="create", id=wanted.id, wanted=wanted)
        answer = await self._try(question)
        for _ in range(2):  # one that has just ended of idleness, and ours
            if answer is None:
                await self._start()
                answer = await self._try(question)
        if answer is None:
            raise KeeperFailed("it does not come up")
        _checked(answer)

    async def pause(self, sandbox_id: str) -> None:
        await self._ask(Question(op="pause", id=sandbox_id))

    async def resume(self, sandbox_id: str) -> None:
        await self._ask(Question(op="resume", id=sandbox_id))

    async def copy(self, source: str, to: str) -> None:
        """Copy what the source can write into a sandbox that is new."""
        await self._ask(Question(op="copy", id=to, source=source))

    async def remove(self, sandbox_id: str) -> None:
        """End a sandbox and forget it. One that is not there is removed."""
        answer = await self._try(Question(op="remove", id=sandbox_id))
        if answer is not None:
            _checked(answer)

    async def _ask(self, question: Question) -> Answer:
        answer = await self._try(question)
        if answer is None:
            raise KeeperFailed("it is not running")
        return _checked(answer)

    async def _try(self, question: Question) -> Answer | None:
        """Ask; None when nobody is there."""
        try:
            with reachable(self._run_dir / SOCKET) as near:
                stream = await anyio.connect_unix(near)
        except OSError:
            return None
        async with stream:
            try:
                with anyio.fail_after(_LIST_S if question.op == "list" else _ANSWER_S):
                    await stream.send(encoded(question))
                    line = bytearray()
                    while not line.endswith(b"\n"):
                        line += await stream.receive()
                        if len(line) > _ANSWER_BYTES:
                            raise KeeperFailed("its answer is too long")
            except TimeoutError as error:
                raise KeeperFailed("it does not answer") from error
            except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
                if not line and question.op in ("create", "list"):
                    return None  # it was about to end, and has done nothing
                raise KeeperFailed("it hung up") from error
        return msgspec.json.decode(line, type=Answer)

    async def _start(self) -> None:
        async with self._starting:
            if await self._try(Question(op="list")) is not None:
                return
            make_private(self._run_dir)
            options = {"run_dir": str(self._run_dir), "group": self._group, "uid_base": str(self._uid_base)}
            log = os.open(self._run_dir / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # Not our child for long, nor in our session: it outlives us, and nothing that is meant for us hits it.
                await anyio.run_process(
                    [sys.executable, "-c", _DETACH, sys.executable, "-m", _MODULE, json.dumps(options)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            finally:
                os.close(log)
            with anyio.move_on_after(_START_S):
                while await self._try(Question(op="list")) is None:  # noqa: ASYNC110 (a file that another process makes)
                    await anyio.sleep(_POLL_S)
                _log.info("sandboxes.keeper_started")
                return
            raise KeeperFailed("it does not come up")


_MODULE = "constellation.comet.sandboxes.keeper"
_DETACH = (
    "import os, sys\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    os.execv(sys.argv[1], sys.argv[1:])\n"
)  # fmt: skip


def _checked(answer: Answer) -> Answer:
    match answer.code:
        case "" if not answer.error:
            return answer
        case "freeze":
            raise PauseUnavailable(answer.error)
        case "copy":
            raise ForkFailed(answer.error)
        case _:
            raise KeeperFailed(answer.error or answer.code)
