"""The `namespace` backend: every function version of every tenant in a sandbox of its own, on any Linux host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import structlog

from constellation.base.errors import ConstellationError
from constellation.base.ids import InstanceId, uuid7
from constellation.base.statedir import make_private
from constellation.comet.backend.contract import BackendSupport, InstanceSpec, SandboxStartFailed
from constellation.comet.builds.kits import Kits
from constellation.comet.link.channel import Channel
from constellation.comet.namespace.forkservers import ForkServers
from constellation.comet.namespace.host import look
from constellation.comet.namespace.instance import NamespaceInstance, watch_memory
from constellation.comet.namespace.leftovers import reap
from constellation.comet.namespace.nurseries import Nurseries
from constellation.comet.namespace.nursery import Nursery, Stock
from constellation.comet.namespace.plans import claim_of, is_own, plan_of, shape_of, stock_of, with_shown
from constellation.comet.namespace.sandboxes import Sandbox, make
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.namespace.slots import USUAL_LIMITS, Limits, Slot, Slots, limit
from constellation.comet.namespace.spares import Shape, Spares
from constellation.comet.namespace.tenants import Tenants
from constellation.comet.network.attachments import Network, NetworkUnavailable
from constellation.comet.runtimes.recipe import Runtime, Start
from constellation.comet.runtimes.registry import Installed, Registry
from constellation.native.cgroups import CgroupSupport
from constellation.native.link import Links
from constellation.native.sandbox import Furnish, Plan
from constellation.native.zygote import TENANT_NOBODY, TENANT_UNKNOWN, Spawned, SpawnFailed, Zygote, ZygoteGone

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
        self._spares: Spares | None = None
        self._nurseries: Nurseries | None = None
        self._kits: Kits | None = None
        self._network: Network | None = None
        self._tenants = Tenants()
        self._instances: dict[Spawned, NamespaceInstance] = {}  # not by pid: those are used again
        self._late: dict[Spawned, Slot] = {}  # killed, and not ended when nobody waited for it any longer

    @property
    def runtimes(self) -> Registry:
        """The languages of this host; empty before `run`."""
        return self._registry

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold fork servers and control groups; first reap what a killed run left. A host that can not make sandboxes does
        not fail here: `support` says what is missing, and `create` refuses.
        """
        settings = self._settings
        make_private(settings.run_dir)
        self._registry, self._cgroups, self._support = await look(self.name, settings)
        await anyio.to_thread.run_sync(reap, settings.run_dir, self._cgroups)
        self._slots = Slots(uid_base=settings.uid_base, cgroups=self._cgroups)
        try:
            async with anyio.create_task_group() as tasks:
                self._servers = ForkServers(tasks, record_dir=settings.run_dir, on_exit=self._exited)
                self._spares = Spares(tasks, make=self._make_spare, destroy=self._destroy_sandbox)
                self._kits = Kits(tasks, self._registry, settings.kits, self.lend)
                self._nurseries = Nurseries(
                    tasks,
                    make=self._make_nursery,
                    branch=self._branch,
                    destroy=self._destroy_sandbox,
                    furnisher=self._servers.executor,
                    on_exit=self._exited,
                )
                self._network = Network(
                    tasks, run_dir=settings.run_dir, resolv_conf=settings.resolv_conf, on_lost=self._network_lost
                )
                tasks.start_soon(self._nurseries.run)
                if not self.has_memory_group:
                    tasks.start_soon(watch_memory, self._instances, settings.memory_watch_s)
                try:
                    yield
                finally:
                    with anyio.move_on_after(_STOP_S, shield=True):
                        await self._spares.close()
                        await self._destroy_all()
                        await self._nurseries.close()
                    self._servers.stop_nowait()
                    tasks.cancel_scope.cancel()
        finally:
            self._slots.close()
            self._servers = self._slots = self._spares = self._nurseries = self._network = None
            self._support = BackendSupport(name=self.name, available=False, reason="stopped", limits={})

    def support(self) -> BackendSupport:
        return self._support

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        """Run the fork servers of the runtimes that are on this host, and hold some sandboxes of each ready."""
        servers, spares, kits = self._servers, self._spares, self._kits
        if servers is None or spares is None or kits is None or not self._support.available:
            return
        wanted = [each for name, each in sorted(self._registry.installed.items()) if name in runtimes]
        templates = dict.fromkeys(each.template for each in wanted)
        await spares.release([each for each in self._registry.installed.values() if each not in templates])
        kits.start_nowait(wanted)
        left_bytes = await servers.keep(wanted, memory_bytes=memory_bytes)
        if self._nurseries is not None:
            left_bytes = self._nurseries.keep(left_bytes)
        spares.keep([shape_of(each, USUAL_LIMITS) for each in templates], budget_bytes=left_bytes)

    async def templates_ready(self) -> None:
        """Wait until as many sandboxes are ready as `keep_templates` allows; for tests and benches."""
        if self._spares is not None and self._nurseries is not None:
            await self._spares.settled()
            await self._nurseries.settled()

    @property
    def nurseries(self) -> int:
        """How many are ready."""
        return len(self._nurseries.ready) if self._nurseries is not None else 0

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> NamespaceInstance:
        """Make a sandbox with a worker inside that waits for `init`, or take one that is ready.

        Raises SandboxStartFailed, RuntimeUnavailable. If cancelled, what was made is destroyed before control returns.
        """
        spares = self._spares
        if spares is None or not self._support.available:
            raise SandboxStartFailed(step="host", reason=self._support.reason)
        if spec.network.reaches_out and self._support.egress_reason:
            raise SandboxStartFailed(step="network", reason=self._support.egress_reason)
        installed = self._registry.get(spec.runtime)
        instance: NamespaceInstance | None = None
        try:
            with spares.caller(), anyio.fail_after(timeout_s):
                limits = Limits(memory_mb=spec.memory_mb, cpu_millis=spec.cpu_millis, processes=spec.max_pids)
                sandbox = await self._branched(spec, installed, limits) or await self._claimed(spec, installed, limits)
                if sandbox is None:
                    sandbox = await self._made(
                        installed,
                        limits,
                        tenant=self._tenant_of(spec),
                        code_dir=spec.code_dir,
                        layers_dir=spec.layers_dir,
                        memory_mb=spec.memory_mb,
                        processes=spec.max_pids,
                        tmp_mb=spec.tmp_mb,
                        setup_s=min(self._settings.spawn_s, timeout_s),
                        shown=spec,
                    )
                instance = self._adopt(spec, installed.runtime, sandbox)
                if spec.network.reaches_out:
                    await self._connect(instance)
                await instance.channel.hello()
        except TimeoutError as error:
            await self._undo(instance)
            raise SandboxStartFailed(step="worker", reason=f"no hello within {timeout_s:g} s") from error
        except (SpawnFailed, ZygoteGone) as error:
            await self._undo(instance)
            step = error.step if isinstance(error, SpawnFailed) else "zygote"
            raise SandboxStartFailed(step=step, reason=str(error)) from error
        except NetworkUnavailable as error:
            await self._undo(instance)
            raise SandboxStartFailed(step="network", reason=error.reason) from error
        except SandboxStartFailed:
            raise
        except ConstellationError as error:  # died, or speaks another protocol
            await self._undo(instance)
            raise SandboxStartFailed(step="worker", reason=str(error)) from error
        except BaseException:
            await self._undo(instance)
            raise
        return instance

    @staticmethod
    async def _undo(instance: NamespaceInstance | None) -> None:
        if instance is not None:
            await instance.destroy()

    def start_network_nowait(self) -> None:
        """Have it ready what gives sandboxes a network, if it can be had here."""
        if self._network is not None and not self._support.egress_reason:
            self._network.start_nowait()

    async def _connect(self, instance: NamespaceInstance) -> None:
        """Let an instance reach what its function may."""
        if instance.attachment is None and self._network is not None:
            instance.attachment = await self._network.attach(instance.spawned.pidfd)
        assert instance.attachment is not None
        await instance.attachment.permit(instance.spec.network)

    def _network_lost(self) -> None:
        """The helper has ended, and every wire with it: what still needs one is of no use."""
        for instance in list(self._instances.values()):
            if instance.attachment is not None:
                instance.kill_nowait("its network was lost")
        if self._spares is not None:
            self._spares.end_wired()

    def _tenant_of(self, spec: InstanceSpec) -> int:
        """A network namespace that had a wire serves nobody again: the wire may still be on its way out."""
        return TENANT_UNKNOWN if spec.network.reaches_out else self._tenants.number_of(spec.tenant)

    async def _made(
        self,
        installed: Installed,
        limits: Limits,
        *,
        tenant: int,
        code_dir: Path | None,
        layers_dir: Path | None = None,
        memory_mb: int,
        processes: int,
        tmp_mb: int,
        setup_s: float,
        is_nursery: bool = False,
        shown: InstanceSpec | None = None,
    ) -> Sandbox:
        """Make a sandbox; its slot is given back when that fails. Its interpreter's own limits may be 0, none yet."""
        assert self._servers is not None
        assert self._kits is not None
        kit = await self._kits.of(installed)
        return await self._spawned(
            await self._servers.of(installed),
            limits,
            lambda slot: with_shown(
                plan_of(
                    installed,
                    slot,
                    code_dir=code_dir,
                    layers_dir=layers_dir,
                    kit=kit,
                    memory_mb=memory_mb,
                    processes=processes,
                    tmp_mb=tmp_mb,
                    shm_mb=self._settings.shm_mb,
                    has_memory_group=self.has_memory_group,
                    setup_s=setup_s,
                    is_nursery=is_nursery,
                ),
                shown,
            ),
            has_page=installed.runtime.start is Start.FORK and not is_nursery,
            tenant=tenant,
        )

    async def _spawned(
        self, zygote: Zygote, limits: Limits, plan_in: Callable[[Slot], Plan], *, has_page: bool = False, tenant: int
    ) -> Sandbox:
        assert self._slots is not None
        async with self._slots.taken(limits, within_s=self._settings.destroy_s) as slot:
            plan = plan_in(slot)
            return await make(zygote, plan, slot, has_page=has_page, tenant=tenant, timeout_s=self._settings.spawn_s)

    @asynccontextmanager
    async def lend(self, limits: Limits, plan_in: Callable[[Slot], Plan], *, tenant: str) -> AsyncIterator[Sandbox]:
        """Run a program that is no function in a sandbox of its own, which is destroyed at the end of the block.

        Raises SandboxStartFailed, SpawnFailed, ZygoteGone.
        """
        if self._servers is None or not self._support.available:
            raise SandboxStartFailed(step="host", reason=self._support.reason)
        zygote = await self._servers.executor()
        sandbox = await self._spawned(zygote, limits, plan_in, tenant=self._tenants.number_of(tenant))
        try:
            yield sandbox
        finally:
            await self._destroy_sandbox(sandbox)

    async def _make_spare(self, shape: Shape) -> Sandbox:
        sandbox = await self._made(
            shape.installed,
            replace(
                USUAL_LIMITS,
                memory_mb=shape.memory_mb or USUAL_LIMITS.memory_mb,
                processes=shape.processes or USUAL_LIMITS.processes,
            ),
            tenant=TENANT_UNKNOWN if shape.is_wired else TENANT_NOBODY,
            code_dir=None,
            memory_mb=shape.memory_mb,
            processes=shape.processes,
            tmp_mb=self._settings.tmp_mb,
            setup_s=self._settings.spawn_s,
        )
        try:
            with anyio.fail_after(self._settings.spawn_s):
                if shape.is_wired and self._network is not None:
                    sandbox.attachment = await self._network.attach(sandbox.spawned.pidfd)
                if not shape.installed.runtime.is_program:
                    await sandbox.greeted()
        except TimeoutError as error:
            await self._destroy_sandbox(sandbox)
            raise SandboxStartFailed(step="worker", reason="a template said no hello") from error
        except BaseException:
            await self._destroy_sandbox(sandbox)
            raise
        return sandbox

    async def _claimed(self, spec: InstanceSpec, installed: Installed, limits: Limits) -> Sandbox | None:
        """Make a ready sandbox this instance's; None when there is none, or none that will."""
        spares, settings = self._spares, self._settings
        if spares is None or is_own(spec):
            return None
        wired = spares.take_nowait(shape_of(installed, limits, is_wired=True)) if spec.network.reaches_out else None
        sandbox = wired or spares.take_nowait(shape_of(installed, limits))
        if sandbox is None:
            return None
        claim = claim_of(spec, installed, settings, has_memory_group=self.has_memory_group)
        try:
            if sandbox.slot.leaf is not None:
                limit(sandbox.slot.leaf, limits)
            await sandbox.zygote.claim(sandbox.spawned, claim, timeout_s=settings.spawn_s, tenant=self._tenant_of(spec))
        except (ConstellationError, OSError) as error:  # it died, say: one is made instead, and tells what is wrong
            _log.warning("template.not_claimed", runtime=spec.runtime, error=str(error))
            await self._destroy_sandbox(sandbox)
            return None
        except BaseException:
            await self._destroy_sandbox(sandbox)
            raise
        return sandbox

    async def _branched(self, spec: InstanceSpec, installed: Installed, limits: Limits) -> Sandbox | None:
        """Fork an instance from the nursery of its function; None when there is none (yet), or none that will."""
        nurseries = self._nurseries
        assert nurseries is not None
        if not spec.preload or is_own(spec) or spec.sockets_dir or not self._can_nurse(installed):
            return None
        stock = stock_of(spec, installed, limits)
        nursery = nurseries.get_nowait(stock)
        if nursery is None:
            return None
        sandbox = nurseries.take_nowait(nursery)
        if sandbox is not None:
            return sandbox
        try:
            return await self._branch(nursery)
        except (ConstellationError, OSError) as error:
            nurseries.refuse_nowait(nursery, str(error))
            return None

    async def _branch(self, nursery: Nursery) -> Sandbox:
        """Fork from a nursery into a slot, which is given back when that fails."""
        slots, settings, stock = self._slots, self._settings, nursery.stock
        assert slots is not None
        furnish = Furnish(tmp_bytes=stock.tmp_mb << 20, shm_bytes=min(settings.shm_mb, stock.tmp_mb) << 20)
        async with slots.taken(stock.limits, within_s=settings.destroy_s) as slot:
            return await nursery.branch(slot, furnish, timeout_s=settings.spawn_s)

    def _can_nurse(self, installed: Installed) -> bool:
        return installed.runtime.start is Start.FORK and not self._support.preload_reason

    async def _make_nursery(self, stock: Stock) -> Sandbox:
        return await self._made(
            stock.installed,
            stock.limits,
            tenant=self._tenants.number_of(stock.tenant),
            code_dir=stock.code_dir,
            layers_dir=stock.layers_dir,
            memory_mb=stock.limits.memory_mb,
            processes=0,  # RLIMIT_NPROC counts the host uid, which all its children share; their groups count each
            tmp_mb=stock.tmp_mb,
            setup_s=self._settings.spawn_s,
            is_nursery=True,
        )

    async def _destroy_sandbox(self, sandbox: Sandbox) -> None:
        is_empty = await sandbox.destroy(within_s=self._settings.destroy_s)
        if is_empty and self._slots is not None:
            self._slots.give_back(sandbox.slot)
        elif not is_empty:
            self._await_late(sandbox.spawned, sandbox.slot)
            _log.error("template.stuck", pid=sandbox.spawned.pid, uid=sandbox.slot.uid)

    def _adopt(self, spec: InstanceSpec, runtime: Runtime, sandbox: Sandbox) -> NamespaceInstance:
        """Make the instance of a sandbox that stands. From here on the instance owns every descriptor."""
        instance = NamespaceInstance(
            InstanceId(uuid7().hex),
            spec,
            runtime,
            slot=sandbox.slot,
            spawned=sandbox.spawned,
            attachment=sandbox.attachment,
            destroy_s=self._settings.destroy_s,
            on_gone=self._gone,
        )
        self._instances[sandbox.spawned] = instance
        instance.attach_nowait(
            Channel(
                self._links,
                sandbox.channel,
                sandbox.stdio_fd,
                sandbox.mail,
                spec=spec,
                on_hang_up=instance.hung_up_nowait,
                on_given_up=instance.given_up_nowait,
            )
        )
        return instance

    def _exited(self, spawned: Spawned) -> None:
        instance = self._instances.get(spawned)
        slot = self._late.pop(spawned, None)
        if slot is not None and spawned.is_reaped and self._slots is not None:
            self._slots.give_back(slot)
        if instance is not None and spawned.status is not None:
            instance.exited_nowait(spawned.status)
        elif instance is None and self._spares is not None:
            self._spares.exited_nowait(spawned)

    def _gone(self, instance: NamespaceInstance, is_empty: bool) -> None:
        self._instances.pop(instance.spawned, None)
        if is_empty and self._slots is not None:
            self._slots.give_back(instance.slot)
        elif not is_empty:
            self._await_late(instance.spawned, instance.slot)

    def _await_late(self, spawned: Spawned, slot: Slot) -> None:
        """Have the slot back if it ends after all, as on a machine with far more to do than it can."""
        if spawned.status is None:
            self._late[spawned] = slot

    async def _destroy_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for instance in list(self._instances.values()):
                tasks.start_soon(instance.destroy)

    @property
    def has_memory_group(self) -> bool:
        """A control group bounds the memory of each sandbox."""
        return self._support.limits.get("memory", "").startswith("cgroup")
