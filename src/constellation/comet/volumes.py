"""Volumes on this host: each is a file system of its own, of its size, in a file, so that nobody fills the host's disk.

The file lies under `<images>/<volume id>.ext4` and is mounted, where only comet looks, when an instance needs it; it stays
so until nothing has used it for a while. Nothing here follows a name that a function made: it shows instances a
directory that is ours, and deletes files that are ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.statedir import make_private
from constellation.comet.backend.contract import InstanceSpec, MountedVolume
from constellation.comet.pool.sources import Sources
from constellation.native.sandbox import VOLUME_ID
from constellation.nova.domain.function import Function
from constellation.nova.domain.volume import Access, Volume

T = TypeVar("T")
_log = structlog.get_logger()

_TOOLS = ("mkfs.ext4", "mount", "umount")
_TOOL_S = 60.0  # chosen: a file system of 10 GiB is made in a second; a busy disk takes longer
_LOOK_S = 30.0  # between looks for what is not needed any more
_IDLE_S = 60.0  # chosen: what is called now and then is not mounted each time
_DATA = "data"  # in the file system: beside it lies what ext4 makes for itself
_OPTIONS = "loop,nosuid,nodev,noexec,noatime,errors=remount-ro"
_SEARCH = os.pathsep.join(("/usr/sbin", "/usr/bin", "/sbin", "/bin"))  # whatever PATH comet has


class VolumeUnavailable(ConstellationError):
    """A volume can not be shown on this host, or not now."""

    code, http_status = "volume_unavailable", 503

    def __init__(self, name: str, *, reason: str) -> None:
        super().__init__(f"volume {name!r} can not be mounted: {reason}", extras={"name": name})


class VolumeBusy(ConstellationError):
    """It is for one function at a time, and instances of another have it."""

    code, http_status, retryable = "volume_busy", 409, True

    def __init__(self, name: str) -> None:
        super().__init__(f"volume {name!r} is read_write_once, and instances of another function still have it")


class VolumeSource(Protocol):
    async def some(self, tenant: str, namespace: str, names: Collection[str]) -> Mapping[str, Volume]: ...

    async def existing(self, ids: Sequence[UUID]) -> frozenset[UUID]: ...


@dataclass(slots=True, eq=False)
class _Mounted:
    """A volume that is in use, or was."""

    place: Path
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: dict[UUID, int] = field(default_factory=dict)  # function -> instances
    is_mounted: bool = False
    idle_since_s: float = 0.0


def missing() -> str:
    """Return why this host has no volumes; "" when it has."""
    if os.geteuid() != 0:
        return "comet is not root, and only root may mount file systems"
    lacking = [name for name in _TOOLS if _tool(name) is None]
    if lacking:
        return f"{', '.join(lacking)} of e2fsprogs and util-linux is missing"
    return "" if Path("/dev/loop-control").exists() else "there are no loop devices (modprobe loop)"


class VolumeShelf:
    """The volumes that instances of this comet have."""

    def __init__(self, images: Path, places: Path, source: VolumeSource) -> None:
        """Hold nothing yet.

        Args:
            places: where they are mounted; of this comet alone.
        """
        self._images, self._places, self._source = images, places, source
        self._mounted: dict[UUID, _Mounted] = {}
        self._threads = anyio.CapacityLimiter(2)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Let go of what a killed run left, then of what is not needed, until cancelled; then of all."""
        await self._in_thread(partial(_release_below, self._places))
        task_status.started()
        try:
            while True:
                await anyio.sleep(_LOOK_S)
                try:
                    await self._let_go()
                    await self._forget_deleted()
                except (ConstellationError, OSError, subprocess.SubprocessError) as error:  # looked at again soon
                    _log.warning("volumes.not_swept", error=str(error))
        finally:
            with anyio.CancelScope(shield=True):
                await self._in_thread(partial(_release_below, self._places))

    async def acquire(self, function: Function) -> tuple[MountedVolume, ...]:
        """Return what a new instance of a function shall have; it stays until `release_nowait`.

        Raises:
            VolumeUnavailable: it was deleted, or this host can not mount it.
            VolumeBusy: it is for one function, and another still has it.
        """
        found = await self._source.some(function.tenant, function.namespace, [each.volume for each in function.mounts])
        for mount in function.mounts:
            if mount.volume not in found:
                raise VolumeUnavailable(mount.volume, reason="it was deleted")
        held: list[UUID] = []
        shown: list[MountedVolume] = []
        try:
            for mount in function.mounts:
                volume = found[mount.volume]
                place = await self._hold(volume, function.id)
                held.append(volume.id)
                is_writable = not mount.read_only and volume.access is not Access.READ_ONLY
                shown.append(MountedVolume(id=volume.id, directory=place, path=mount.path, is_writable=is_writable))
        except BaseException:
            for each in held:
                self._release(each, function.id)
            raise
        return tuple(shown)

    def release_nowait(self, spec: InstanceSpec) -> None:
        """One instance less."""
        for each in spec.volumes:
            self._release(each.id, spec.function_id)

    async def _hold(self, volume: Volume, function_id: UUID) -> Path:
        if reason := missing():
            raise VolumeUnavailable(volume.name, reason=reason)
        one = self._mounted.setdefault(volume.id, _Mounted(self._places / str(volume.id)))
        if volume.access is Access.READ_WRITE_ONCE and one.users.keys() - {function_id}:
            raise VolumeBusy(volume.name)
        one.users[function_id] = one.users.get(function_id, 0) + 1
        try:
            async with one.lock:
                if not one.is_mounted:
                    await self._in_thread(partial(_mount, self._image(volume.id), one.place, volume.size_mb))
                    one.is_mounted = True
        except (OSError, subprocess.SubprocessError) as error:
            self._release(volume.id, function_id)
            raise VolumeUnavailable(volume.name, reason=_said(error)) from error
        except BaseException:
            self._release(volume.id, function_id)
            raise
        return one.place / _DATA

    def _release(self, volume_id: UUID, function_id: UUID) -> None:
        one = self._mounted[volume_id]
        one.users[function_id] -= 1
        if not one.users[function_id]:
            del one.users[function_id]
        one.idle_since_s = anyio.current_time()

    async def _let_go(self) -> None:
        for volume_id, one in list(self._mounted.items()):
            if one.users or one.idle_since_s > anyio.current_time() - _IDLE_S:
                continue
            async with one.lock:  # who wants it meanwhile waits, and mounts it again
                if not one.users and one.is_mounted:
                    one.is_mounted = False
                    await self._in_thread(partial(_unmount, one.place))
            if not one.users:
                del self._mounted[volume_id]

    async def _forget_deleted(self) -> None:
        """Remove the files of volumes that there are no more: an id is looked up after its file was seen."""
        seen = await self._in_thread(partial(_ids_in, self._images))
        there = await self._source.existing(seen) if seen else frozenset[UUID]()
        for each in seen:
            if each not in there and each not in self._mounted:
                await self._in_thread(partial(self._image(each).unlink, missing_ok=True))
                _log.info("volume.removed", volume=str(each))

    def _image(self, volume_id: UUID) -> Path:
        return self._images / f"{volume_id}.ext4"

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


class VolumeSources:
    """What instances are made of, with the volumes of their functions. Implements `Sources`."""

    def __init__(self, sources: Sources, shelf: VolumeShelf) -> None:
        self._sources, self._shelf = sources, shelf

    async def acquire(self, function: Function) -> InstanceSpec:
        """Return what to boot, as the sources do.

        Raises:
            VolumeUnavailable, VolumeBusy: and as the sources.
        """
        spec = await self._sources.acquire(function)
        if not function.mounts:
            return spec
        try:
            return replace(spec, volumes=await self._shelf.acquire(function))
        except BaseException:
            self._sources.release_nowait(spec)
            raise

    def release_nowait(self, spec: InstanceSpec) -> None:
        self._shelf.release_nowait(spec)
        self._sources.release_nowait(spec)


def _tool(name: str) -> str | None:
    return shutil.which(name, path=_SEARCH)


def _run(name: str, *words: str) -> None:
    """Run a tool of the host. Blocks; raises OSError, SubprocessError."""
    program = _tool(name)
    if program is None:
        raise FileNotFoundError(f"{name} is missing")
    subprocess.run([program, *words], check=True, capture_output=True, timeout=_TOOL_S, stdin=subprocess.DEVNULL)


def _said(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return error.stderr.decode("utf-8", "replace").strip()[-200:] or str(error)
    return str(error)


def _mount(image: Path, place: Path, size_mb: int) -> None:
    """Mount a volume, whose file is made when there is none: whole or not at all."""
    make_private(image.parent)
    make_private(place.parent)
    make_private(place)
    if not image.exists():
        new = image.with_suffix(".new")
        new.unlink(missing_ok=True)
        with new.open("xb") as file:
            os.truncate(file.fileno(), size_mb << 20)  # what is not written to takes no room
        new.chmod(0o600)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", str(new))
        new.rename(image)
    _run("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(place))
    try:
        data = place / _DATA
        if not data.is_dir():
            data.mkdir(mode=0o700)
            os.chown(data, VOLUME_ID, VOLUME_ID)
    except BaseException:
        _unmount(place)
        raise


def _unmount(place: Path) -> None:
    _run("umount", str(place))
    place.rmdir()


def _release_below(places: Path) -> None:
    """Let go of every mount that a killed comet left; a file system that something still has ends with it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = Path(line.split()[4].encode().decode("unicode_escape"))
        if place.parent == places:
            try:
                _run("umount", "-l", str(place))
            except (OSError, subprocess.SubprocessError) as error:
                _log.warning("volume.not_released", place=str(place), error=_said(error))
    for place in places.iterdir() if places.is_dir() else ():
        try:
            place.rmdir()  # never what is in it
        except OSError:
            continue


def _ids_in(images: Path) -> list[UUID]:
    found: list[UUID] = []
    for path in images.glob("*.ext4") if images.is_dir() else ():
        try:
            found.append(UUID(path.stem))
        except ValueError:
            continue
    return found
