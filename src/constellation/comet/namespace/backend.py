"""The `namespace` backend: every function version of every tenant in a sandbox of its own, on any Linux host."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio
import structlog

from constellation.base.errors import ConstellationError
from constellation.base.ids import InstanceId, uuid7
from constellation.base.statedir import make_private
from constellation.comet.backend.contract import BackendSupport, InstanceSpec, SandboxStartFailed
from constellation.comet.link.channel import Channel
from constellation.comet.namespace.forkservers import ForkServers
from constellation.comet.namespace.instance import NamespaceInstance
from constellation.comet.namespace.leftovers import reap
from constellation.comet.namespace.memory import resident_bytes
from constellation.comet.namespace.plans import plan_of
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.namespace.slots import Slot, Slots, until_empty
from constellation.comet.runtimes.recipe import Runtime
from constellation.comet.runtimes.registry import Registry
from constellation.native.cgroups import CgroupSupport, detect
from constellation.native.link import Links
from constellation.native.probe import probe
from constellation.native.zygote import Spawned, SpawnFailed, ZygoteGone

_log = structlog.get_logger()
_STOP_S = 15.0  # chosen: instances end within milliseconds; what hangs in the kernel is left to the next start


class NamespaceBackend:
    """Implements `Backend`. Usable inside `run`."""

    name = "namespace"

    def __init__(self, settings: NamespaceSettings, links: Links) -> None:
        self._settings, self._links = settings, links
        self._support = BackendSupport(name=self.name, available=False, reason="not started", limits={})
        self._registry = Registry({}, {})
        self._cgroups: CgroupSupport | None = None
        self._slots: Slots | None = None
        self._servers: ForkServers | None = None
        self._instances: dict[Spawned, NamespaceInstance] = {}  # not by pid: those are used again

    @property
    def runtimes(self) -> Registry:
        """The languages of this host; empty before `run`."""
        return self._registry

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold fork servers and control groups. Leftovers of a killed run are reaped before the block begins.

        A host that can not make sandboxes does not fail here: `support` says what is missing, and `create` refuses.
        """
        settings = self._settings
        make_private(settings.run_dir)
        self._registry = await anyio.to_thread.run_sync(Registry.find, settings.interpreters)
        result = await anyio.to_thread.run_sync(probe)
        self._cgroups = detect(settings.group) if settings.use_cgroups else None
        reason = "" if result.is_able else f"{result.reason}; {result.advice}"
        self._support = BackendSupport(
            name=self.name, available=result.is_able, reason=reason, limits=self._limits(self._cgroups)
        )
        _log.info("backend.probed", backend=self.name, available=result.is_able, reason=reason)
        for limit, means in self._support.limits.items():
            (_log.warning if means == "none" else _log.info)("backend.limit", limit=limit, means=means)
        await anyio.to_thread.run_sync(reap, settings.run_dir, self._cgroups)
        self._slots = Slots(uid_base=settings.uid_base, cgroups=self._cgroups)
        try:
            async with anyio.create_task_group() as tasks:
                self._servers = ForkServers(tasks, record_dir=settings.run_dir, on_exit=self._exited)
                if not self._has_memory_group:
                    tasks.start_soon(self._watch_memory)
                try:
                    yield
                finally:
                    with anyio.move_on_after(_STOP_S, shield=True):
                        await self._destroy_all()
                    self._servers.stop_nowait()
                    tasks.cancel_scope.cancel()
        finally:
            self._slots.close()
            self._servers = self._slots = None
            self._support = BackendSupport(name=self.name, available=False, reason="stopped", limits={})

    def support(self) -> BackendSupport:
        return self._support

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        """Run the fork servers of the runtimes that are on this host."""
        if self._servers is not None and self._support.available:
            wanted = [each for name, each in sorted(self._registry.installed.items()) if name in runtimes]
            await self._servers.keep(wanted, memory_bytes=memory_bytes)

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> NamespaceInstance:
        """Make a sandbox with a worker inside that waits for `init`.

        Raises:
            SandboxStartFailed, RuntimeUnavailable

        If cancelled, what was made is destroyed before control returns.
        """
        servers, slots = self._servers, self._slots
        if servers is None or slots is None or not self._support.available:
            raise SandboxStartFailed(step="host", reason=self._support.reason)
        installed = self._registry.get(spec.runtime)
        slot = slots.take(memory_mb=spec.memory_mb, cpu_millis=spec.cpu_millis, processes=spec.max_pids)
        instance: NamespaceInstance | None = None
        try:
            with anyio.fail_after(timeout_s):
                plan = plan_of(
                    spec,
                    installed,
                    slot,
                    shm_mb=self._settings.shm_mb,
                    has_memory_group=self._has_memory_group,
                    setup_s=min(self._settings.spawn_s, timeout_s),
                )
                zygote = await servers.of(installed)
                ours, theirs = socket.socketpair()
                out_fd, in_fd = os.pipe2(os.O_CLOEXEC)
                with theirs:
                    try:
                        spawned = await zygote.spawn(
                            plan, channel_fd=theirs.fileno(), stdio_fd=in_fd, timeout_s=self._settings.spawn_s
                        )
                    except BaseException:
                        ours.close()
                        os.close(out_fd)
                        raise
                    finally:
                        os.close(in_fd)
                instance = self._adopt(spec, installed.runtime, slot, spawned, ours, out_fd)
                await instance.channel.hello()
        except TimeoutError as error:
            await self._undo(instance, slot)
            raise SandboxStartFailed(step="worker", reason=f"no hello within {timeout_s:g} s") from error
        except (SpawnFailed, ZygoteGone) as error:
            await self._undo(instance, slot)
            step = error.step if isinstance(error, SpawnFailed) else "zygote"
            raise SandboxStartFailed(step=step, reason=str(error)) from error
        except ConstellationError as error:  # died, or speaks another protocol
            await self._undo(instance, slot)
            raise SandboxStartFailed(step="worker", reason=str(error)) from error
        except BaseException:
            await self._undo(instance, slot)
            raise
        return instance

    async def _undo(self, instance: NamespaceInstance | None, slot: Slot) -> None:
        if instance is not None:
            await instance.destroy()
        elif self._slots is not None:
            with anyio.move_on_after(self._settings.destroy_s, shield=True):
                await until_empty(slot)
                self._slots.give_back(slot)

    def _adopt(
        self, spec: InstanceSpec, runtime: Runtime, slot: Slot, spawned: Spawned, ours: socket.socket, out_fd: int
    ) -> NamespaceInstance:
        """Make the instance of a sandbox that stands. From here on the instance owns every descriptor."""
        ours.setblocking(False)
        os.set_blocking(out_fd, False)
        instance = NamespaceInstance(
            InstanceId(uuid7().hex),
            spec,
            runtime,
            slot=slot,
            spawned=spawned,
            destroy_s=self._settings.destroy_s,
            on_gone=self._gone,
        )
        self._instances[spawned] = instance
        instance.attach_nowait(
            Channel(
                self._links,
                ours,
                out_fd,
                function=spec.function_name,
                is_alone=spec.concurrency <= 1,
                log_limit_bytes=spec.log_limit_bytes,
                on_hang_up=instance.hung_up_nowait,
                on_given_up=instance.given_up_nowait,
            )
        )
        return instance

    def _exited(self, spawned: Spawned) -> None:
        instance = self._instances.get(spawned)
        if instance is not None and spawned.status is not None:
            instance.exited_nowait(spawned.status)

    def _gone(self, instance: NamespaceInstance, is_empty: bool) -> None:
        self._instances.pop(instance.spawned, None)
        if is_empty and self._slots is not None:
            self._slots.give_back(instance.slot)

    async def _destroy_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for instance in list(self._instances.values()):
                tasks.start_soon(instance.destroy)

    @property
    def _has_memory_group(self) -> bool:
        return self._support.limits.get("memory", "").startswith("cgroup")

    @staticmethod
    def _limits(cgroups: CgroupSupport | None) -> dict[str, str]:
        """Say how each limit is enforced; the stand-ins for missing controllers are RLIMIT_AS and RLIMIT_NPROC."""
        found = dict(cgroups.limits) if cgroups is not None else dict.fromkeys(("memory", "cpu", "pids"), "none")
        for name in ("memory", "pids"):
            if found[name] == "none":
                found[name] = "rlimit"
        return found

    async def _watch_memory(self) -> None:
        """End instances whose processes together hold more than their limit."""
        while True:
            await anyio.sleep(self._settings.memory_watch_s)
            for instance in list(self._instances.values()):
                used = await anyio.to_thread.run_sync(resident_bytes, instance.pid) - instance.base_resident_bytes
                if used > instance.spec.memory_mb << 20:
                    instance.kill_nowait("out of memory")
