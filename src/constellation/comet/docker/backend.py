"""The `docker` backend: every function version of every tenant in containers of its own, of the operator's images."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup

from constellation.base.errors import ConstellationError
from constellation.base.ids import InstanceId, uuid7
from constellation.base.statedir import make_private
from constellation.comet.backend.contract import (
    BackendSupport,
    InstanceDied,
    InstanceSpec,
    RuntimeUnavailable,
    SandboxStartFailed,
)
from constellation.comet.docker import door
from constellation.comet.docker.container import PLATFORM_LABEL, Place, container_of, container_of_image
from constellation.comet.docker.door import Door
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.link.channel import Channel
from constellation.comet.namespace.leftovers import reap
from constellation.comet.network.attachments import Network
from constellation.comet.network.host import egress
from constellation.comet.runtimes.image import RUNTIME as IMAGE
from constellation.comet.runtimes.recipe import Contained, Runtime
from constellation.comet.runtimes.registry import KNOWN
from constellation.native.link import Links
from constellation.nova.domain.image import ImageReference

if TYPE_CHECKING:
    from constellation.comet.docker.arrival import Arrival
    from constellation.comet.docker.engine import Engine, Image
    from constellation.comet.docker.images import Images
    from constellation.comet.docker.instance import DockerInstance

_log = structlog.get_logger()
SANDBOXES = ("exec", "terminal", "files", "processes", "ports", "pause")
_NO_PRELOAD = "containers are not forked from one another"
_SAID_CHARS = 500
_PREFIX = "constellation-"  # of the containers' names
SANDBOX_UIDS = 10_000  # chosen: far more than live at a time
REMAPPED_UIDS = 10_000  # chosen: a daemon with a user namespace maps few, mostly 65,536, and no image has users there


class DockerBackend:
    """Implements `Backend`. Usable inside `run`."""

    name = "docker"

    def __init__(self, settings: DockerSettings, links: Links) -> None:
        self._settings, self._links = settings, links
        self._support = self._unavailable("not started")
        self._tasks: TaskGroup | None = None
        self._engine: Engine | None = None
        self._images: Images | None = None
        self._network: Network | None = None
        self._egress = ""  # how the network policy is enforced; "" until it was looked at
        self._egress_reason = ""
        self._laying_out = anyio.Lock()
        self._guests: dict[str, Path] = {}  # runtime id -> directory
        self._instances: dict[str, DockerInstance | None] = {}  # by container name; None while it is being made
        self._users, self._uid_base = _Users(), settings.uid_base

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Hold a client of the daemon. Leftovers of a killed run are reaped before the block begins.

        A host without a daemon does not fail here: `support` says what is missing, `create` refuses, and it is looked
        for again.
        """
        make_private(self._settings.run_dir)
        await anyio.to_thread.run_sync(_clear, self._settings.run_dir)
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._network = Network(
                tasks,
                run_dir=self._settings.run_dir,
                resolv_conf=self._settings.resolv_conf,
                on_lost=self._network_lost,
            )
            await self._look(stack)
            tasks.start_soon(self._look_again, stack)
            try:
                yield
            finally:
                with anyio.move_on_after(2 * self._settings.destroy_s, shield=True):
                    await self._destroy_all()
                self._support = self._unavailable("stopped")
                self._tasks = self._engine = self._images = self._network = None
                tasks.cancel_scope.cancel()

    def support(self) -> BackendSupport:
        return self._support

    def start_network_nowait(self) -> None:
        """Have it ready what gives containers a network, if it can be had here."""
        if self._network is not None and self._support.available and not self._support.egress_reason:
            self._network.start_nowait()

    def _network_lost(self) -> None:
        """The helper has ended, and every wire with it: what still needs one is of no use."""
        for instance in self._instances.values():
            if instance is not None and instance.attachment is not None:
                instance.kill_nowait("its network was lost")

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        """Nothing is held ready: an idle container costs what a busy one does."""

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> DockerInstance:
        """Make a container with a worker inside that waits for `init`.

        Raises:
            SandboxStartFailed, RuntimeUnavailable

        If cancelled, what was made is removed before control returns.
        """
        from constellation.comet.docker.engine import EngineFailed  # noqa: PLC0415 (see _look)

        engine = self._engine
        if engine is None or not self._support.available:
            raise SandboxStartFailed(step="docker", reason=self._support.reason)
        runtime = self._runtime_of(spec)
        if spec.network.reaches_out and self._support.egress_reason:
            raise SandboxStartFailed(step="network", reason=self._support.egress_reason)
        instance_id = InstanceId(uuid7().hex)
        name = _PREFIX + instance_id
        self._instances[name] = None  # from here on a look for leftovers leaves it alone
        try:
            with anyio.fail_after(timeout_s):
                return await self._made(engine, spec, runtime, instance_id, name)
        except TimeoutError as error:
            raise SandboxStartFailed(step="worker", reason=f"no hello within {timeout_s:g} s") from error
        except EngineFailed as error:
            raise SandboxStartFailed(step="docker", reason=str(error)) from error
        except (SandboxStartFailed, RuntimeUnavailable):
            raise
        except InstanceDied as error:  # the image has no such program, say
            said = error.log.text.strip()[-_SAID_CHARS:]
            raise SandboxStartFailed(step="worker", reason=f"{error.cause}: {said}" if said else error.cause) from error
        except (ConstellationError, OSError) as error:  # it speaks another protocol; a full disk
            raise SandboxStartFailed(step="worker", reason=str(error)) from error
        finally:
            if self._instances.get(name) is None:
                self._instances.pop(name, None)

    def _runtime_of(self, spec: InstanceSpec) -> Runtime:
        if spec.runtime == IMAGE.id:
            return IMAGE
        for runtime in KNOWN:
            if runtime.id == spec.runtime and runtime.contained is not None and spec.runtime in self._settings.images:
                return runtime
        known = ", ".join(sorted(self._settings.images))
        raise RuntimeUnavailable(spec.runtime, reason=f"has no image; these have: {known}")

    async def resolve(self, image: ImageReference, *, tenant: str, told: Callable[[str], None]) -> ImageReference:
        """Return an image with the digest that it has now, after a pull if the operator has it so.

        Raises:
            RuntimeUnavailable: it can not be had, or can not be run.
            SandboxStartFailed: no container runs here.
        """
        from constellation.comet.docker.engine import EngineFailed  # noqa: PLC0415 (see _look)

        if self._images is None or not self._support.available:
            raise SandboxStartFailed(step="docker", reason=self._support.reason)
        try:
            return await self._images.resolve(image, tenant=tenant, told=told)
        except EngineFailed as error:
            raise SandboxStartFailed(step="docker", reason=str(error)) from error

    def lent(self) -> Engine:
        """Lend the client of the daemon to whoever has containers of another kind. Raises `SandboxStartFailed`."""
        if self._engine is None or not self._support.available:
            raise SandboxStartFailed(step="docker", reason=self._support.reason)
        return self._engine

    @property
    def images(self) -> Mapping[str, str]:
        """The operator's: runtime id -> image."""
        return self._settings.images

    @property
    def socket(self) -> Path:
        """The daemon's."""
        return self._settings.socket

    @property
    def platform(self) -> str:
        """What our containers are known by."""
        return self._settings.platform

    def uid_of_sandbox(self, sandbox_id: UUID) -> int:
        """Return the user of an interactive sandbox, told by its id, for those of an earlier run live on.

        Two may have the same one: some of what the kernel counts by user they then share, and nothing else.
        """
        return self._uid_base + SANDBOX_UIDS + sandbox_id.int % SANDBOX_UIDS

    async def image_of(self, runtime: str, pinned: str, *, tenant: str) -> Image:
        """Return an image that was pinned, or else the operator's of a runtime.

        Raises:
            RuntimeUnavailable, EngineFailed, SandboxStartFailed
        """
        from constellation.comet.docker.probe import why_not  # noqa: PLC0415 (see _look)

        engine = self.lent()
        if pinned:
            assert self._images is not None
            return await self._images.usable(pinned, tenant=tenant)
        name = self._settings.images[runtime]
        image = await engine.try_image(name)
        if image is None or image.volumes:
            raise RuntimeUnavailable(runtime, reason=why_not(name, image))
        return image

    async def _made(
        self, engine: Engine, spec: InstanceSpec, runtime: Runtime, instance_id: InstanceId, name: str
    ) -> DockerInstance:
        from constellation.comet.docker.arrival import arrived  # noqa: PLC0415 (see _look)
        from constellation.comet.docker.instance import DockerInstance  # noqa: PLC0415 (see _look)

        settings, tasks, contained = self._settings, self._tasks, runtime.contained
        assert tasks is not None
        assert contained is not None
        image = await self.image_of(spec.runtime, spec.handler if runtime is IMAGE else "", tenant=spec.tenant)
        guest_dir = await self._guest_dir(runtime, contained)
        user = self._users.take()
        made: DockerInstance | None = None
        place = settings.run_dir / instance_id
        try:
            opened = await anyio.to_thread.run_sync(Door.open, place)
            try:
                host = Place(
                    image=image.id, instance=instance_id, platform=settings.platform, uid=self._uid_base + user,
                    guest_dir=guest_dir, door_dir=opened.directory, shm_mb=settings.shm_mb,
                )  # fmt: skip
                if runtime is IMAGE:
                    config = container_of_image(spec, image.program, host)
                else:
                    config = container_of(spec, runtime, contained, host)
                # To its own deadline, whatever ours is: one that is given up on may come to be all the same
                with anyio.CancelScope(shield=True):
                    container = await engine.create(name, config)
                await engine.start(container)
                arrival = await arrived(opened, engine, container, network=self._network, policy=spec.network)
            finally:
                with anyio.CancelScope(shield=True):  # bounded: two files on a local disk
                    await anyio.to_thread.run_sync(opened.close)
            made = DockerInstance(
                instance_id, spec, runtime,
                container=container, user=user, attachment=arrival.attachment,
                engine=engine, tasks=tasks, settings=settings, on_gone=self._gone,
            )  # fmt: skip
            self._instances[name] = made
            self._attach(made, arrival)
            await made.channel.hello()
        except BaseException:
            if made is not None:
                await made.destroy()
            else:
                with anyio.CancelScope(shield=True):  # bounded by what it is given
                    if await engine.remove(name, within_s=settings.destroy_s):
                        self._users.give_back(user)
            raise
        return made

    def _attach(self, instance: DockerInstance, arrival: Arrival) -> None:
        spec = instance.spec
        instance.attach_nowait(
            Channel(
                self._links,
                arrival.channel,
                arrival.stdio_fd,
                spec=spec,
                on_hang_up=instance.hung_up_nowait,
                on_given_up=instance.given_up_nowait,
            )
        )

    async def _guest_dir(self, runtime: Runtime, contained: Contained) -> Path:
        async with self._laying_out:
            if runtime.id not in self._guests:
                self._guests[runtime.id] = await anyio.to_thread.run_sync(
                    door.lay_out, self._settings.run_dir, runtime.id, contained.sources
                )
            return self._guests[runtime.id]

    def _gone(self, instance: DockerInstance, is_gone: bool) -> None:
        self._instances.pop(_PREFIX + instance.id, None)
        if is_gone:
            self._users.give_back(instance.user)

    async def _destroy_all(self) -> None:
        async with anyio.create_task_group() as tasks:
            for instance in list(self._instances.values()):
                if instance is not None:
                    tasks.start_soon(instance.destroy)

    # -- the daemon

    async def _look_again(self, stack: AsyncExitStack) -> None:
        while True:
            await anyio.sleep(self._settings.look_s)
            await self._look(stack)

    async def _look(self, stack: AsyncExitStack) -> None:
        """Find out whether containers can run here, and remove those of ours that nobody knows: of an executor that was
        killed, or that the daemon made or kept after we had given up on it.
        """
        refusal = await anyio.to_thread.run_sync(door.refusal, self._settings.socket)
        if refusal:
            self._tell(self._unavailable(refusal))
            return
        # Here and not above: it costs 170 ms and 7 MiB (measured), which a host without Docker does not pay
        from constellation.comet.docker.engine import EngineFailed, connected  # noqa: PLC0415
        from constellation.comet.docker.images import Images  # noqa: PLC0415
        from constellation.comet.docker.probe import look  # noqa: PLC0415

        if self._engine is None:
            self._engine = await stack.enter_async_context(
                connected(self._settings.socket, call_s=self._settings.call_s)
            )
            assert self._tasks is not None
            self._images = Images(self._engine, self._settings.functions, self._tasks)
        engine = self._engine
        try:
            with anyio.fail_after(self._settings.probe_s):
                found = await look(engine, self._settings.images)
            if not found.reason:
                await self._reap(engine)
        except TimeoutError:
            self._tell(self._unavailable(f"the daemon did not answer within {self._settings.probe_s:g} s"))
        except EngineFailed as error:
            self._tell(self._unavailable(f"the daemon does not answer: {error}"))
        else:
            if not self._egress:
                self._egress, self._egress_reason = await egress(self.name)
            support = BackendSupport(
                name=self.name, available=not found.reason, reason=found.reason,
                limits={**found.limits, "egress": self._egress},
                preload_reason=_NO_PRELOAD,
                egress_reason=self._egress_reason,
                missing_runtimes=found.missing_images,
                sandboxes=SANDBOXES,
            )  # fmt: skip
            self._uid_base = REMAPPED_UIDS if found.is_remapped else self._settings.uid_base
            self._tell(support)

    async def _reap(self, engine: Engine) -> None:
        labelled = await engine.labelled(f"{PLATFORM_LABEL}={self._settings.platform}")
        unknown = {name: container for name, container in labelled.items() if name not in self._instances}
        if not unknown:
            return
        async with anyio.create_task_group() as tasks:
            for container in unknown.values():
                tasks.start_soon(partial(engine.remove, container, within_s=self._settings.destroy_s))
        _log.warning("leftovers.reaped", containers=len(unknown))

    def _tell(self, support: BackendSupport) -> None:
        """Log what has changed since the last look."""
        before, self._support = self._support, support
        if support == before:
            return
        _log.info("backend.probed", backend=self.name, available=support.available, reason=support.reason)
        for limit, means in support.limits.items():
            (_log.warning if means == "none" else _log.info)("backend.limit", limit=limit, means=means)
        for runtime, reason in support.missing_runtimes.items():
            _log.warning("backend.runtime_missing", backend=self.name, runtime=runtime, reason=reason)

    def _unavailable(self, reason: str) -> BackendSupport:
        return BackendSupport(
            name=self.name, available=False, reason=reason, limits={}, preload_reason=_NO_PRELOAD,
        )  # fmt: skip


def _clear(run_dir: Path) -> None:
    """End what a killed run has left of its network, and its files. Blocks."""
    reap(run_dir, None)
    door.clear(run_dir)


class _Users:
    """Lends numbers of users, lowest first."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0

    def take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def give_back(self, number: int) -> None:
        heapq.heappush(self._free, number)
