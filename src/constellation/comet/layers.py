"""The layers of functions as files on this host, under `<root>/<tenant>/`.

What a version holds is one directory, named by its hash. What several make together is another, of hard links, made once
for each list: a start mounts one directory, however many layers there are, and none where there are none. A directory
appears whole or not at all, is checked against its hash, and goes when no function of this node needs it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.files import new_file
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.code import make_directory
from constellation.comet.pool.sources import Sources
from constellation.nova.domain.function import Function, feed_file
from constellation.nova.domain.layer import overlaid
from constellation.nova.domain.runtimes import EVERY

T = TypeVar("T")

_WRITERS = 2  # threads; chosen: the disk is the limit
_CHECK_S = 30.0  # a removal that failed is tried again
_PROGRAM_STARTS = (b"#!", b"\x7fELF")
LIBRARIES = "/opt/lib"


class LayerCorrupt(ConstellationError):
    """What is stored of a layer is not what its hash says, or would leave its directory."""

    code, http_status = "layer_corrupt", 500

    def __init__(self, digest: str, *, reason: str) -> None:
        super().__init__(f"the layer of hash {digest[:12]} {reason}")


class LayerSource(Protocol):
    def content(self, tenant: str, digest: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield path and content of each file, by path."""
        ...


@dataclass(slots=True, eq=False)
class _Directory:
    path: Path
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0
    is_ready: bool = False


class LayerShelf:
    """Directories of layers and who uses them; a `Watcher` of functions. `run` removes what nobody needs any more."""

    def __init__(self, root: Path, source: LayerSource) -> None:
        self._root, self._source = root, source
        self._directories: dict[Path, _Directory] = {}
        self._needed: dict[tuple[UUID, int], frozenset[Path]] = {}  # by functions that are known, by slot
        self._useless = anyio.Event()
        self._threads = anyio.CapacityLimiter(_WRITERS)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Remove what a killed run left, then whatever becomes useless, until cancelled. Started means ready."""
        await self._in_thread(partial(_clear, self._root))
        task_status.started()
        while True:
            with anyio.move_on_after(_CHECK_S):
                await self._useless.wait()
            self._useless = anyio.Event()
            needed = frozenset[Path]().union(*self._needed.values())
            for directory in list(self._directories.values()):
                if directory.users or directory.path in needed:
                    continue
                async with directory.lock:  # who wants it meanwhile waits, and makes it anew
                    if directory.users == 0:
                        directory.is_ready = False
                        await self._in_thread(partial(_remove, directory.path))
                if directory.users == 0:
                    del self._directories[directory.path]

    async def acquire(self, tenant: str, hashes: Sequence[str]) -> Path:
        """Return the directory that shows some layers, later over earlier; it stays until `release_nowait`.

        Raises:
            LayerCorrupt: what is stored is damaged.
            NotFound, DatabaseUnavailable: it is not there, or can not be read now.
        """
        if len(hashes) == 1:
            return await self._hold(self._content_path(tenant, hashes[0]), partial(self._fetch, tenant, hashes[0]))
        return await self._hold(self._merged_path(tenant, hashes), partial(self._merge, tenant, tuple(hashes)))

    def release_nowait(self, path: Path) -> None:
        """One user less."""
        self._directories[path].users -= 1
        self._useless.set()

    def update(self, function: Function, *, is_suspended: bool) -> None:  # noqa: ARG002 (as the protocol has it)
        """The function, or a version of it, is known here."""
        if function.layers:
            self._needed[function.slot] = self._paths(function)
        elif self._needed.pop(function.slot, None):
            self._useless.set()

    def remove(self, function_id: UUID) -> None:
        for slot in [slot for slot in self._needed if slot[0] == function_id]:
            del self._needed[slot]
            self._useless.set()

    def unpin(self, function: Function) -> None:
        if self._needed.pop(function.slot, None):
            self._useless.set()

    def forget(self, function_id: UUID) -> None:
        self.remove(function_id)  # the next call writes the files again

    def _paths(self, function: Function) -> frozenset[Path]:
        hashes = [pin.hash for pin in function.layers]
        paths = {self._content_path(function.tenant, each) for each in hashes}
        return frozenset(paths if len(hashes) == 1 else paths | {self._merged_path(function.tenant, hashes)})

    def _content_path(self, tenant: str, digest: str) -> Path:
        return self._root / tenant / digest

    def _merged_path(self, tenant: str, hashes: Sequence[str]) -> Path:
        return self._root / tenant / f"{sha256(':'.join(hashes).encode()).hexdigest()}-{len(hashes)}"

    async def _hold(self, path: Path, make: Callable[[Path], object]) -> Path:
        directory = self._directories.setdefault(path, _Directory(path))
        directory.users += 1
        try:
            if not directory.is_ready:
                async with directory.lock:
                    if not directory.is_ready:
                        await make(path)  # type: ignore[misc]  # a coroutine function under partial
                        directory.is_ready = True
        except BaseException:
            self.release_nowait(path)
            raise
        return path

    async def _fetch(self, tenant: str, digest: str, path: Path) -> None:
        partial_path = await self._in_thread(partial(_begin, path))
        checked = sha256()
        try:
            async for name, content in self._source.content(tenant, digest):
                feed_file(checked, name, content)
                await self._in_thread(partial(_write, partial_path, name, content))
        except ValueError as error:
            raise LayerCorrupt(digest, reason=str(error)) from error
        if checked.hexdigest() != digest:
            raise LayerCorrupt(digest, reason="does not have its hash")
        await self._in_thread(partial(_publish, partial_path, path))

    async def _merge(self, tenant: str, hashes: tuple[str, ...], path: Path) -> None:
        held: list[Path] = []
        try:
            for digest in hashes:
                content = self._content_path(tenant, digest)
                held.append(await self._hold(content, partial(self._fetch, tenant, digest)))
            await self._in_thread(partial(_link, held, path))
        finally:
            for each in held:
                self.release_nowait(each)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


class LayerSources:
    """What instances are made of, with the layers of their functions. Implements `Sources`."""

    def __init__(self, sources: Sources, shelf: LayerShelf) -> None:
        self._sources, self._shelf = sources, shelf

    async def acquire(self, function: Function) -> InstanceSpec:
        """Return what to boot, as the sources do.

        Raises:
            LayerCorrupt: and as the sources.
        """
        spec = await self._sources.acquire(function)
        if not function.layers:
            return spec
        try:
            directory = await self._shelf.acquire(function.tenant, [pin.hash for pin in function.layers])
        except BaseException:
            self._sources.release_nowait(spec)
            raise
        places = f"/code:/code/lib:{LIBRARIES}" if EVERY[function.runtime].lambda_api else LIBRARIES
        return replace(spec, layers_dir=directory, env={"LD_LIBRARY_PATH": places, **spec.env})

    def release_nowait(self, spec: InstanceSpec) -> None:
        if spec.layers_dir is not None:
            self._shelf.release_nowait(spec.layers_dir)
        self._sources.release_nowait(spec)


_PARENTS = threading.Lock()  # tenants' directories are made and removed by threads at the same time


def _begin(path: Path) -> Path:
    """Make the empty directory in which files are written before anybody looks."""
    partial_path = path.with_name(f".{path.name}")
    shutil.rmtree(partial_path, ignore_errors=True)  # of an attempt that failed
    with _PARENTS:
        make_directory(path.parent)
        make_directory(partial_path)
    return partial_path


def _write(into: Path, name: str, content: bytes) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"has the path {name!r}")
    is_program = "bin" in parts[:-1] or content.startswith(_PROGRAM_STARTS)
    with new_file(_parented(into, parts), mode=0o755 if is_program else 0o644) as file:
        file.write(content)


def _parented(into: Path, parts: Sequence[str]) -> Path:
    target = into.joinpath(*parts)
    if not target.parent.is_dir():
        for parent in reversed(target.relative_to(into).parents[:-1]):
            make_directory(into / parent)
    return target


def _link(layers: Sequence[Path], path: Path) -> None:
    """Make a directory of what layers show together."""
    partial_path = _begin(path)
    names = [
        [os.path.relpath(Path(place, name), layer) for place, _, files in os.walk(layer) for name in files]
        for layer in layers
    ]
    for name, number in overlaid(names).items():
        os.link(layers[number] / name, _parented(partial_path, PurePosixPath(name).parts), follow_symlinks=False)
    _publish(partial_path, path)


def _publish(partial_path: Path, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    partial_path.rename(path)


def _clear(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    make_directory(root)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with _PARENTS:
        try:
            path.parent.rmdir()
        except OSError:
            return  # the tenant has others
