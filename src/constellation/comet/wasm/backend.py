"""The `wasm` backend: a tenant's WebAssembly in one sandbox of the tenant's own, each call in a fresh store.

What isolates functions of one tenant from each other is WebAssembly; what isolates tenants is the namespace backend's
sandbox, which holds when WebAssembly does not.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.ids import InstanceId, uuid7
from constellation.comet.backend.contract import (
    BackendSupport,
    InstanceDied,
    InstanceSpec,
    RuntimeUnavailable,
    SandboxStartFailed,
)
from constellation.comet.link.channel import Channel
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.runtimes.registry import Installed
from constellation.comet.wasm.instance import WasmInstance
from constellation.comet.wasm.settings import WasmSettings
from constellation.comet.wasm.worker import TenantWorker, is_same
from constellation.native.link import Links
from constellation.native.zygote import SpawnFailed, ZygoteGone
from constellation.nova.domain.runtimes import WASM

_log = structlog.get_logger()
_POLL_S = 0.005
_NO_PRELOAD = "a module has nothing that could be imported before its call"


class WasmBackend:
    """Implements `Backend`. Usable inside `run`, and that inside the namespace backend's."""

    name = "wasm"

    def __init__(self, settings: WasmSettings, links: Links, namespace: NamespaceBackend) -> None:
        self._settings, self._links, self.namespace = settings, links, namespace
        self._tasks: TaskGroup | None = None
        self._workers: dict[str, TenantWorker] = {}  # by tenant
        self._starting: dict[str, anyio.Lock] = {}
        self._running: set[TenantWorker] = set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold the tenants' workers for the length of the block."""
        support = self._supported()
        _log.info("backend.probed", backend=self.name, available=support.available, reason=support.reason)
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None
                with anyio.move_on_after(2 * self._settings.destroy_s, shield=True):
                    await self._destroy_all()
                    await self.settled()
                tasks.cancel_scope.cancel()

    @property
    def code_root(self) -> Path:
        """Below it, each tenant's code lies in a directory of its own."""
        return self._settings.code_root

    @property
    def workers(self) -> Sequence[TenantWorker]:
        """Those that instances can begin in."""
        return tuple(self._workers.values())

    @property
    def worker_pids(self) -> Mapping[str, int]:
        """The first process of each tenant's worker, as the host numbers it."""
        return {tenant: worker.pid for tenant, worker in self._workers.items() if worker.pid}

    def support(self) -> BackendSupport:
        if self._tasks is None:
            return self._told("not started")
        return self._supported()

    def _supported(self) -> BackendSupport:
        below = self.namespace.support()
        if not below.available:
            return self._told(f"its sandboxes are the namespace backend's: {below.reason}")
        return self._told(self.namespace.runtimes.missing.get(WASM.id, ""))

    def _told(self, reason: str) -> BackendSupport:
        limits = {**self.namespace.support().limits, "memory": "wasmtime", "cpu": "fuel"} if not reason else {}
        return BackendSupport(
            name=self.name, available=not reason, reason=reason, limits=limits, preload_reason=_NO_PRELOAD
        )

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        """Nothing is held ready: an instance in a running worker is made in less time than one could be taken in."""

    async def settled(self) -> None:
        """Wait until no worker is there that could go; for tests, and at the end."""
        while any(worker.is_over or not worker.instances for worker in self._running):  # noqa: ASYNC110 (seldom, and short)
            await anyio.sleep(_POLL_S)

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> WasmInstance:
        """Open a channel to the tenant's worker, which is started if it does not run.

        Raises:
            SandboxStartFailed, RuntimeUnavailable

        If cancelled, what was made is destroyed before control returns.
        """
        if not self.support().available:
            raise SandboxStartFailed(step="host", reason=self.support().reason)
        if spec.runtime != WASM.id:
            raise RuntimeUnavailable(spec.runtime, reason=f"this backend runs {WASM.id} alone")
        installed = self.namespace.runtimes.get(WASM.id)
        instance: WasmInstance | None = None
        try:
            with anyio.fail_after(timeout_s):
                instance = self._opened(spec, installed, await self._worker_of(spec, installed))
                await instance.channel.hello()
        except TimeoutError as error:
            await self._undo(instance)
            raise SandboxStartFailed(step="worker", reason=f"no hello within {timeout_s:g} s") from error
        except InstanceDied as error:
            await self._undo(instance)
            raise SandboxStartFailed(step="worker", reason=error.cause) from error
        except (SpawnFailed, ZygoteGone) as error:
            raise SandboxStartFailed(step="zygote", reason=str(error)) from error
        except BaseException:
            await self._undo(instance)
            raise
        return instance

    @staticmethod
    async def _undo(instance: WasmInstance | None) -> None:
        if instance is not None:
            await instance.destroy()

    async def _worker_of(self, spec: InstanceSpec, installed: Installed) -> TenantWorker:
        """Return the tenant's worker, one that can see the function's code."""
        root = self._settings.code_root
        if not spec.code_dir.is_relative_to(root) or spec.code_dir.parent == root:
            raise SandboxStartFailed(step="code", reason=f"{spec.code_dir} is not below {root}")
        code_dir = root / spec.code_dir.relative_to(root).parts[0]
        worker = self._workers.get(spec.tenant)
        if worker is not None and self._is_good(worker, spec):
            return worker
        async with self._starting.setdefault(spec.tenant, anyio.Lock()):
            worker = self._workers.get(spec.tenant)
            if worker is not None and self._is_good(worker, spec):
                return worker
            if self._tasks is None:
                raise SandboxStartFailed(step="host", reason="stopped")
            made = TenantWorker(spec.tenant, code_dir, settings=self._settings, namespace=self.namespace)
            await self._tasks.start(partial(self._serve, made, installed))
            self._workers[spec.tenant] = made
            return made

    @staticmethod
    def _is_good(worker: TenantWorker, spec: InstanceSpec) -> bool:
        return not worker.is_over and spec.code_dir.is_relative_to(worker.code_dir) and is_same(worker)

    async def _serve(self, worker: TenantWorker, installed: Installed, *, task_status: TaskStatus[None]) -> None:
        self._running.add(worker)
        try:
            await worker.serve(installed.interpreter, task_status=task_status)
        except ConstellationError as error:
            if worker.has_started:  # nobody waits for it any more
                _log.error("wasm.worker_failed", tenant=worker.tenant, reason=str(error))
            else:
                raise
        finally:
            self._running.discard(worker)
            if self._workers.get(worker.tenant) is worker:
                del self._workers[worker.tenant]
                self._starting.pop(worker.tenant, None)

    def _opened(self, spec: InstanceSpec, installed: Installed, worker: TenantWorker) -> WasmInstance:
        """Make the instance and give its worker the other ends. From here on the instance owns every descriptor."""
        ours, theirs = socket.socketpair()
        out_fd, in_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        instance = WasmInstance(
            InstanceId(uuid7().hex),
            spec,
            installed.runtime,
            held_fd=os.dup(out_fd),
            destroy_s=self._settings.destroy_s,
            on_stuck=worker.stop_nowait,
            on_gone=worker.gone_nowait,
        )
        ours.setblocking(False)
        instance.attach_nowait(
            Channel(
                self._links,
                ours,
                out_fd,
                spec=spec,
                on_hang_up=instance.hung_up_nowait,
                on_given_up=instance.given_up_nowait,
            )
        )
        with theirs:
            try:
                worker.open_nowait(spec, instance, theirs, in_fd)
            except SandboxStartFailed as error:
                instance.kill_nowait(str(error))  # its greeting tells
            finally:
                os.close(in_fd)
        return instance

    async def _destroy_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for worker in list(self._workers.values()):
                for instance in list(worker.instances):
                    tasks.start_soon(instance.destroy)
        for worker in list(self._running):
            worker.stop_nowait()
