"""One container: its worker's channel, and why it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
import structlog
from anyio.abc import TaskGroup

from constellation.base.ids import InstanceId
from constellation.comet.backend.contract import CallTimeout, InstanceSpec, InstanceStats, ServerNotReady
from constellation.comet.docker.arrival import take_back
from constellation.comet.docker.engine import Engine, EngineFailed, State
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.link.instance import LAST_WORDS_BYTES, SIGNAL_STATUS, LinkedInstance
from constellation.comet.network.attachments import Attachment
from constellation.comet.runtimes.image import RUNTIME as IMAGE
from constellation.comet.runtimes.recipe import Runtime

_log = structlog.get_logger()


class DockerInstance(LinkedInstance):
    """Implements `Instance`. Made by the backend, which gives it the channel once ct-guest has come for it.

    What the daemon has to be asked for (to kill, why it ended) runs in the backend's tasks: the link tells of a dead
    worker in the middle of its own work.
    """

    def __init__(
        self,
        instance_id: InstanceId,
        spec: InstanceSpec,
        runtime: Runtime,
        *,
        container: str,
        user: int,
        attachment: Attachment | None,
        engine: Engine,
        tasks: TaskGroup,
        settings: DockerSettings,
        on_gone: Callable[[DockerInstance, bool], None],
    ) -> None:
        super().__init__(instance_id, spec, runtime)
        self.container, self.user, self.attachment = container, user, attachment
        self._engine, self._tasks, self._settings = engine, tasks, settings
        self._on_gone = on_gone
        self._following: anyio.CancelScope | None = None
        self._is_killed = False

    async def init(self, *, timeout_s: float) -> None:
        try:
            await super().init(timeout_s=timeout_s)
        except CallTimeout as error:
            if self._runtime is not IMAGE:
                raise
            raise ServerNotReady(self.spec.function_name, after_s=timeout_s, log=error.log) from error

    async def stats(self) -> InstanceStats:
        nothing = InstanceStats(memory_bytes=None, cpu_s=None, pids=None)
        if self.died.is_set():
            return nothing
        try:
            usage = await self._engine.usage(self.container)
        except EngineFailed:  # it has just ended, or the daemon is away
            return nothing
        return InstanceStats(
            memory_bytes=usage.memory_bytes,
            cpu_s=usage.cpu_stats.cpu_usage.total_usage / 1e9,
            pids=usage.pids_stats.current,
        )

    async def _end(self) -> None:
        self._cause = self._cause or "destroyed"
        is_gone = False
        try:
            with anyio.CancelScope(shield=True):  # bounded by what it is given
                is_gone = await self._engine.remove(self.container, within_s=self._settings.destroy_s)
        finally:
            await take_back(self.attachment)  # also of one that did not go: nothing of it gets out any more
            if self._following is not None:
                self._following.cancel()
            self._over_nowait(None)
            self._on_gone(self, is_gone)
        if not is_gone:  # the backend looks for it again
            _log.error("instance.stuck", instance=self.id, container=self.container)

    def kill_nowait(self, cause: str) -> None:
        self._cause = self._cause or cause
        if not self._is_killed:
            self._is_killed = True
            self._tasks.start_soon(self._kill)
        self._follow_nowait()

    def hung_up_nowait(self, cause: str) -> None:
        """React to the end of the channel; `cause` is "" when the worker just closed it, as it does when it ends."""
        if cause:
            self.kill_nowait(cause)
        else:
            self._follow_nowait()

    async def _kill(self) -> None:
        try:
            await self._engine.kill(self.container)
        except EngineFailed as error:
            _log.error("instance.not_killed", instance=self.id, container=self.container, reason=str(error))

    def _follow_nowait(self) -> None:
        if self._following is None and not self.died.is_set():
            self._following = anyio.CancelScope()
            self._tasks.start_soon(self._follow, self._following)

    async def _follow(self, scope: anyio.CancelScope) -> None:
        """See the container to its end, and tell the callers."""
        with scope:
            state = await self._ended(within_s=self._settings.exit_note_s)
            if state is None:
                self.kill_nowait("protocol: the worker closed its channel")  # unless it was killed for another reason
                state = await self._ended(within_s=self._settings.destroy_s)
            self._over_nowait(state)

    async def _ended(self, *, within_s: float) -> State | None:
        with anyio.move_on_after(within_s):
            try:
                return await self._engine.ended(self.container)
            except EngineFailed as error:
                _log.warning("instance.end_unknown", instance=self.id, reason=str(error))
                self._cause = self._cause or "ended, and the daemon does not say why"
        return None

    def _over_nowait(self, state: State | None) -> None:
        if self.died.is_set():
            return
        if self._channel is not None:
            self._channel.catch_up_nowait()
            if state is not None and self._cause is None:
                words = self._channel.last_words(LAST_WORDS_BYTES)
                self._cause = cause_of(state, words, self._runtime.out_of_memory_texts)
            self._channel.end_nowait(self._cause or "destroyed")
        self.died.set()


def cause_of(state: State, words: bytes, out_of_memory_texts: tuple[bytes, ...]) -> str:
    """Say why a container ended by itself. Pure.

    ct-guest, its first process, tells of its child's signal as a shell does. The daemon's word on memory stands for
    any process that ever ran in there, so it counts only where the end was a kill.
    """
    number = state.exit_code - SIGNAL_STATUS
    if not 0 < number < signal.NSIG:
        return f"exit status {state.exit_code}"
    if state.is_out_of_memory and number == signal.SIGKILL:
        return "out of memory"
    if any(text in words for text in out_of_memory_texts):
        return "out of memory"
    return f"signal {number}"
