"""What instances have in common whose worker is at the other end of a channel. How each is ended is its isolator's."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

import anyio

from constellation.base.ids import InstanceId
from constellation.comet.backend.contract import Call, InstanceSpec, Outcome, StreamOutcome
from constellation.comet.link.channel import Channel, init_of
from constellation.comet.runtimes.recipe import Runtime

SIGNAL_STATUS = 128  # ct-guest, a first process, says so of its child's signal, as a shell does
LAST_WORDS_BYTES = 16 << 10
# Chosen: a process that ends closes its socket before the kernel reports its end, by some milliseconds. One that lives on
# after this has closed the channel itself.
EXIT_NOTE_S = 1.0


class LinkedInstance(ABC):
    """The part of `Instance` that is the channel's, and that it is destroyed once."""

    def __init__(self, instance_id: InstanceId, spec: InstanceSpec, runtime: Runtime) -> None:
        self.id, self.spec = instance_id, spec
        self.died = anyio.Event()
        self._runtime = runtime
        self._channel: Channel | None = None
        self._cause: str | None = None
        self._destroyed: asyncio.Event | None = None

    @property
    def link(self) -> int:
        return self.channel.number

    @property
    def channel(self) -> Channel:
        assert self._channel is not None
        return self._channel

    def attach_nowait(self, channel: Channel) -> None:
        self._channel = channel

    async def init(self, *, timeout_s: float) -> None:
        try:
            await self.channel.init(init_of(self.spec), timeout_s=timeout_s)
        except asyncio.CancelledError:
            self.kill_nowait("destroyed")
            raise

    async def invoke(self, call: Call) -> Outcome:
        return await self.channel.call(call)

    def stream(self, call: Call) -> AbstractAsyncContextManager[StreamOutcome]:
        return self.channel.stream(call)

    async def destroy(self) -> None:
        if self._destroyed is not None:
            with anyio.CancelScope(shield=True):  # bounded: the first caller's own wait is
                await self._destroyed.wait()
            return
        self._destroyed = asyncio.Event()
        try:
            await self._end()
        finally:
            self._destroyed.set()

    def given_up_nowait(self) -> None:
        """React to a call that lost its caller: alone in its sandbox, it ends with the sandbox."""
        if self.spec.concurrency <= 1 or not self.channel.is_ready:
            self.kill_nowait("timeout")

    @abstractmethod
    def kill_nowait(self, cause: str) -> None:
        """End the whole tree; `cause` is why, unless something was known before."""

    @abstractmethod
    async def _end(self) -> None:
        """Take all that belongs to the instance away; called once, shielded inside against cancellation."""


class WatchedInstance(LinkedInstance):
    """Of whose worker's end its isolator hears by itself, if a moment later than the channel does."""

    def __init__(self, instance_id: InstanceId, spec: InstanceSpec, runtime: Runtime) -> None:
        super().__init__(instance_id, spec, runtime)
        self._exit_timer: asyncio.TimerHandle | None = None

    def hung_up_nowait(self, cause: str) -> None:
        """React to the end of the channel; `cause` is "" when the worker just closed it, as it does when it ends."""
        if cause:
            self.kill_nowait(cause)
        elif self._exit_timer is None and not self._has_ended:
            loop = asyncio.get_running_loop()
            self._exit_timer = loop.call_later(EXIT_NOTE_S, self.kill_nowait, "protocol: the worker closed its channel")

    def _noted_nowait(self) -> None:
        """The end is known: it is waited for no longer."""
        if self._exit_timer is not None:
            self._exit_timer.cancel()

    @property
    @abstractmethod
    def _has_ended(self) -> bool: ...
