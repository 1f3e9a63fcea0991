"""A tenant's worker: the sandbox in which all of its WebAssembly runs, for as long as there is any."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskStatus

from constellation.comet.backend.contract import InstanceSpec, SandboxStartFailed
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.comet.namespace.slots import Limits, Slot, limit
from constellation.comet.runtimes.recipe import Interpreter
from constellation.comet.runtimes.wasm.recipe import WORKER, WORKER_LIBRARY, worker_binds
from constellation.comet.wasm.instance import WasmInstance
from constellation.comet.wasm.settings import WasmSettings
from constellation.native.sandbox import Bind, Plan, standard_entries
from constellation.native.sandbox import Limits as PlanLimits

_log = structlog.get_logger()
_TENANT_DIR = "/tenant"
_OPENING_BYTES = 256  # native/src/wasm/host.h
_OPEN_FILES = 8192  # chosen: six a running call, two an instance
_PROCESSES = 4096  # threads: one an instance, one a call that overlaps others
_OWN_THREADS = 32  # the library's
_SHM_MB = 1
_SAID_BYTES = 4096


class TenantWorker:
    """One sandbox. `serve` holds it; instances come and go."""

    def __init__(self, tenant: str, code_dir: Path, *, settings: WasmSettings, namespace: NamespaceBackend) -> None:
        self.tenant, self.code_dir = tenant, code_dir
        self.inode = _inode(code_dir)
        self.instances: set[WasmInstance] = set()
        self.has_started = False
        self.is_over = False  # no instance may begin here any more
        self._settings, self._namespace = settings, namespace
        self._sandbox: Sandbox | None = None
        self._changed = anyio.Event()
        self._stopping = anyio.CancelScope()

    async def serve(self, interpreter: Interpreter, *, task_status: TaskStatus[None]) -> None:
        """Run the sandbox until nothing has needed it for a while, it ends, or it is stopped. Started: it can be used.

        Raises:
            SandboxStartFailed, SpawnFailed, ZygoteGone: before it was started.
        """
        try:
            async with self._namespace.lend(
                self._limits(()), lambda slot: self._plan(slot, interpreter), tenant=self.tenant
            ) as made:
                with anyio.fail_after(self._settings.start_s):
                    await made.greeted()
                if not made.channel.recv(_OPENING_BYTES):
                    raise SandboxStartFailed(step="worker", reason=_said(made.stdio_fd) or "it ended")
                self._sandbox, self.has_started = made, True
                task_status.started()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._hear, made.stdio_fd)
                    with self._stopping:
                        tasks.start_soon(self._watch, made)
                        await self._until_idle()
                    self.is_over = True  # before anything else can run
                    tasks.cancel_scope.cancel()
                self._let_go(made)
        except TimeoutError as error:
            raise SandboxStartFailed(step="worker", reason="a tenant's worker said no hello") from error
        finally:
            self.is_over = True
            self._sandbox = None

    def _let_go(self, sandbox: Sandbox) -> None:
        """End what is left."""
        cause = _cause_of(sandbox)
        for instance in list(self.instances):
            instance.worker_ended_nowait(cause)

    async def _until_idle(self) -> None:
        patience_s = max(self._settings.start_s, self._settings.idle_s)  # for the first, which it was started for
        while True:
            with anyio.move_on_after(patience_s):
                while not self.instances:
                    await self._changed.wait()
            if not self.instances:
                return
            while self.instances:
                await self._changed.wait()
            patience_s = self._settings.idle_s

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _watch(self, sandbox: Sandbox) -> None:
        await sandbox.spawned.wait()
        self.stop_nowait()

    @property
    def pid(self) -> int:
        """0: it does not run."""
        return self._sandbox.spawned.pid if self._sandbox is not None else 0

    def stop_nowait(self) -> None:
        """End it with all of its instances."""
        self.is_over = True
        self._stopping.cancel()

    def open_nowait(self, spec: InstanceSpec, instance: WasmInstance, channel: socket.socket, held_fd: int) -> None:
        """Hand an instance's end of its channel to the worker.

        Raises:
            SandboxStartFailed: it has ended, or is so busy that it does not take what it is given.
        """
        if self._sandbox is None or self.is_over:
            raise SandboxStartFailed(step="worker", reason="the tenant's worker has ended")
        self.instances.add(instance)
        self._tell()
        self._limit()
        path = str(spec.code_dir.relative_to(self.code_dir)).encode()
        message = struct.pack(">I", spec.cpu_millis) + path
        if len(message) >= _OPENING_BYTES:
            raise SandboxStartFailed(step="code", reason=f"its path is too long: {spec.code_dir}")
        try:
            socket.send_fds(self._sandbox.channel, [message.ljust(_OPENING_BYTES, b"\0")], [channel.fileno(), held_fd])
        except OSError as error:
            raise SandboxStartFailed(step="worker", reason=str(error)) from error

    def gone_nowait(self, instance: WasmInstance) -> None:
        """An instance is no more."""
        self.instances.discard(instance)
        if self._sandbox is not None and not self.is_over:
            self._limit()
        self._tell()

    def _limits(self, instances: Collection[WasmInstance]) -> Limits:
        """Return what the worker may use: as much as its functions together, and its own."""
        specs = [instance.spec for instance in instances]
        return Limits(
            memory_mb=self._settings.own_mb
            + self._settings.tmp_mb
            + sum(spec.memory_mb * max(1, spec.concurrency) for spec in specs),
            cpu_millis=max(1000, sum(spec.cpu_millis for spec in specs)),
            processes=min(_PROCESSES, _OWN_THREADS + sum(1 + spec.concurrency for spec in specs)),
        )

    def _limit(self) -> None:
        leaf = self._sandbox.slot.leaf if self._sandbox is not None else None
        if leaf is None:
            return
        try:
            limit(leaf, self._limits(self.instances))
        except OSError as error:  # it holds more now than it may: what it had before goes on to hold
            _log.warning("wasm.not_limited", tenant=self.tenant, reason=str(error))

    def _plan(self, slot: Slot, interpreter: Interpreter) -> Plan:
        leaf = slot.leaf
        return Plan(
            host_uid=slot.uid,
            host_gid=slot.gid,
            entries=(
                *standard_entries(tmp_bytes=self._settings.tmp_mb << 20, shm_bytes=_SHM_MB << 20),
                *worker_binds(interpreter),
                Bind(source=str(self.code_dir), target=_TENANT_DIR),
            ),
            argv=(WORKER, WORKER_LIBRARY, "host"),
            env={"LANG": "C.UTF-8", "HOME": "/tmp"},  # noqa: S108 (the sandbox's own)
            hostname="wasm",
            limits=PlanLimits(open_files=_OPEN_FILES, processes=_PROCESSES),
            cgroup_dir=leaf.cgroup_dir if leaf is not None else "",
            task_files=leaf.task_files if leaf is not None else (),
            setup_s=self._settings.start_s,
            is_alone=True,  # it shows a tenant's code
            may_share_memory=self._namespace.has_memory_group,
        )

    async def _hear(self, fd: int) -> None:
        """Read what the library says of itself; guests have no way to write there."""
        while True:
            await anyio.wait_readable(fd)
            said = _said(fd)
            if not said:
                return
            _log.warning("wasm.said", tenant=self.tenant, text=said)


def _said(fd: int) -> str:
    try:
        return os.read(fd, _SAID_BYTES).decode("utf-8", "replace").strip()
    except BlockingIOError:
        return ""


def _cause_of(sandbox: Sandbox) -> str:
    status = sandbox.spawned.status
    if status is None:
        return "destroyed"
    leaf = sandbox.slot.leaf
    if status.signal and leaf is not None and leaf.oom_kills() > sandbox.slot.oom_kills:
        return "out of memory"
    return f"signal {status.signal}" if status.signal else str(status)


def _inode(directory: Path) -> tuple[int, int]:
    found = directory.stat()
    return found.st_dev, found.st_ino


def is_same(worker: TenantWorker) -> bool:
    """Say whether the worker still sees the tenant's code: a directory that was removed and made again is another."""
    try:
        return _inode(worker.code_dir) == worker.inode
    except OSError:
        return False
