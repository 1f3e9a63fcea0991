"""A build that runs: what its tools say, what they leave, and the memory that they hold meanwhile."""

from __future__ import annotations

import anyio
import anyio.to_thread

from constellation.comet.builds.contract import BuildFailed, BuildRequest
from constellation.comet.builds.output import Output
from constellation.comet.builds.plans import PROCESSES, limits_of
from constellation.comet.builds.unpack import TreeRefused, TreeWriter
from constellation.comet.namespace.memory import resident_bytes
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.comet.strangers import received_alone

_ENTRIES = 200_000  # chosen: twice a large node_modules
_PIECE_BYTES = 1 << 20
_WATCH_S = 0.25  # between looks at the memory, where no control group limits it
_LAST_WORDS_S = 5.0  # chosen: what a killed build has said is in the pipe already


async def follow(request: BuildRequest, sandbox: Sandbox, output: Output, *, has_memory_group: bool) -> None:
    """Hear what the tools say and take the tree that they leave. The caller bounds the time.

    Raises:
        BuildFailed: they failed, or left what can not be taken.
        OSError: the disk.
    """
    writer = TreeWriter(request.output, most_bytes=request.disk_mb << 20, most_entries=_ENTRIES)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        memory = _MemoryWatch(sandbox, request)
        tasks.start_soon(output.listen, sandbox.stdio_fd)
        if not has_memory_group:
            tasks.start_soon(memory.run)
        try:
            await _receive(sandbox, writer)
            status = await sandbox.spawned.wait()
        except (TreeRefused, OSError) as error:
            failure = error
            sandbox.spawned.kill_nowait()
        finally:
            writer.close()
        memory.scope.cancel()
        tasks.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_S
    if isinstance(failure, TreeRefused):
        raise BuildFailed(f"what it leaves in its output can not be taken: {failure}")
    if failure is not None:
        raise failure
    if memory.was_passed():
        raise BuildFailed(f"it needs more than the {request.memory_mb} MiB of memory that a build may use")
    if not writer.is_complete:
        limits = {"disk_mb": request.disk_mb, "memory_mb": request.memory_mb, "processes": PROCESSES}
        raise BuildFailed(output.reason(f"it ended with {status}", **limits))


class _MemoryWatch:
    """Whether a build has met its limit of memory; where no control group sees to that, `run` does."""

    def __init__(self, sandbox: Sandbox, request: BuildRequest) -> None:
        self.scope = anyio.CancelScope()
        self._sandbox, self._limit_bytes = sandbox, limits_of(request).memory_mb << 20
        self._has_passed = False

    async def run(self) -> None:
        with self.scope:
            while not self._has_passed:
                await anyio.sleep(_WATCH_S)
                used = await anyio.to_thread.run_sync(resident_bytes, self._sandbox.spawned.pid)
                self._has_passed = used > self._limit_bytes
            self._sandbox.spawned.kill_nowait()

    def was_passed(self) -> bool:
        leaf = self._sandbox.slot.leaf
        return self._has_passed or (leaf is not None and leaf.oom_kills() > self._sandbox.slot.oom_kills)


async def _receive(sandbox: Sandbox, writer: TreeWriter) -> None:
    """Take the tree, up to the end of the stream."""
    while True:
        await anyio.wait_readable(sandbox.channel)
        try:
            data = received_alone(sandbox.channel, _PIECE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            continue
        if not data:
            return
        await anyio.to_thread.run_sync(writer.feed, data)
