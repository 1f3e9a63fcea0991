"""One sandbox: its worker's channel, its process, its slot; and why it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

import anyio
import structlog

from constellation.base.ids import InstanceId
from constellation.comet.backend.contract import InstanceSpec, InstanceStats
from constellation.comet.link.channel import Channel
from constellation.comet.link.instance import LAST_WORDS_BYTES, SIGNAL_STATUS, WatchedInstance
from constellation.comet.namespace.memory import resident_bytes
from constellation.comet.namespace.sandboxes import detach
from constellation.comet.namespace.slots import Slot, until_gone
from constellation.comet.network.attachments import Attachment
from constellation.comet.runtimes.recipe import Runtime, Start
from constellation.native.zygote import ExitStatus, Spawned

_log = structlog.get_logger()


class NamespaceInstance(WatchedInstance):
    """Implements `Instance`. Made by the backend, which gives it the channel after the spawn."""

    def __init__(
        self,
        instance_id: InstanceId,
        spec: InstanceSpec,
        runtime: Runtime,
        *,
        slot: Slot,
        spawned: Spawned,
        attachment: Attachment | None,
        destroy_s: float,
        on_gone: Callable[[NamespaceInstance, bool], None],
    ) -> None:
        super().__init__(instance_id, spec, runtime)
        self.slot, self.spawned = slot, spawned
        self.attachment = attachment
        self.base_resident_bytes = resident_bytes(spawned.pid) if slot.leaf is None else 0
        self._destroy_s, self._on_gone = destroy_s, on_gone

    @property
    def pid(self) -> int:
        """The first process, as the host numbers it."""
        return self.spawned.pid

    def attach_nowait(self, channel: Channel) -> None:
        super().attach_nowait(channel)
        if self.spawned.status is not None:
            self.exited_nowait(self.spawned.status)

    async def stats(self) -> InstanceStats:
        leaf = self.slot.leaf
        if self.died.is_set():
            return InstanceStats(memory_bytes=None, cpu_s=None, pids=None)
        if leaf is None:
            used = await anyio.to_thread.run_sync(resident_bytes, self.pid)
            return InstanceStats(memory_bytes=max(0, used - self.base_resident_bytes), cpu_s=None, pids=None)
        usage = leaf.usage()
        return InstanceStats(memory_bytes=usage.memory_bytes, cpu_s=usage.cpu_us / 1e6, pids=usage.processes)

    async def _end(self) -> None:
        self.kill_nowait("destroyed")
        is_empty = False
        try:
            with anyio.move_on_after(self._destroy_s, shield=True):
                await until_gone(self.spawned, self.slot)
                is_empty = True
        finally:
            await detach(self.attachment, within_s=self._destroy_s)
            if self._channel is not None:
                self._channel.end_nowait(self._cause or "destroyed")
            self.spawned.close()
            self.died.set()
            self._on_gone(self, is_empty)
        if not is_empty:  # hangs in the kernel; its slot is not used again, and the next start of comet tries anew
            _log.error("instance.stuck", instance=self.id, pid=self.pid, uid=self.slot.uid)

    def kill_nowait(self, cause: str) -> None:
        self._cause = self._cause or cause
        self.spawned.kill_nowait()

    @property
    def _has_ended(self) -> bool:
        return self.spawned.status is not None

    def exited_nowait(self, status: ExitStatus) -> None:
        """React to the end of the first process, and so of the whole tree."""
        self._noted_nowait()
        if self._channel is None:
            return
        self._channel.catch_up_nowait()
        self._cause = self._cause or self._cause_of(status)
        self._channel.end_nowait(self._cause)
        self.died.set()

    def _cause_of(self, status: ExitStatus) -> str:
        number = status.signal
        if self._runtime.start is Start.EXEC and SIGNAL_STATUS < status.code < SIGNAL_STATUS + signal.NSIG:
            number = status.code - SIGNAL_STATUS
        if number:
            leaf = self.slot.leaf
            if leaf is not None and leaf.oom_kills() > self.slot.oom_kills:
                return "out of memory"
            words = self.channel.last_words(LAST_WORDS_BYTES)
            if any(text in words for text in self._runtime.out_of_memory_texts):
                return "out of memory"
            return f"signal {number}"
        return str(status)


async def watch_memory(instances: Mapping[Spawned, NamespaceInstance], every_s: float) -> None:
    """End instances whose processes together hold more than their limit, where no control group does; until cancelled."""
    while True:
        await anyio.sleep(every_s)
        for instance in list(instances.values()):
            used = await anyio.to_thread.run_sync(resident_bytes, instance.pid) - instance.base_resident_bytes
            if used > instance.spec.memory_mb << 20:
                instance.kill_nowait("out of memory")
