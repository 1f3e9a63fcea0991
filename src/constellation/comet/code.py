"""The code of functions as files on this host, under `<root>/<tenant>/<function id>/<version>-<hash>/`.

A directory appears whole or not at all, is checked against its hash, and goes when no instance uses it and a newer
version is live. The sandbox reads it as another user, so directories are 0755 and files 0644, or 0755 where a runtime executes
them; what keeps others out is the state directory above, which is 0700.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError
from constellation.base.files import new_file
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.builds.tree import TreeRefused, unpack
from constellation.nova.domain.function import Code, Function, code_hash
from constellation.nova.domain.runtimes import EVERY

log = structlog.get_logger()
T = TypeVar("T")

_WRITERS = 4  # threads that write code at a time; chosen: the disk, not the number of threads, is the limit
_CHECK_S = 30.0  # a removal that failed is tried again
# What is fetched ahead of its first use is bounded, used or deleted ones not counted; beyond that, the first start fetches.
_AHEAD_MAX, _AHEAD_BYTES = 1024, 256 << 20  # chosen: a deployment of a thousand functions; a small disk's share


class CodeCorrupt(ConstellationError):
    """The stored code is not what its hash says, or would leave its directory."""

    code, http_status = "code_corrupt", 500

    def __init__(self, function: str, *, version: int, reason: str) -> None:
        super().__init__(f"function {function!r}: the code of version {version} {reason}")


class CodeSource(Protocol):
    async def code(self, tenant: str, function_id: UUID, version: int) -> Code:
        """Return a version as it runs; the files of one that was built lie in its artifact."""
        ...


class ArtifactSource(Protocol):
    def parts(self, tenant: str, digest: str) -> AsyncIterator[bytes]: ...


@dataclass(slots=True, eq=False)
class _Directory:
    path: Path
    function_id: UUID
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0
    size_bytes: int = 0  # of the files
    is_ready: bool = False
    is_superseded: bool = False


class CodeShelf:
    """Directories of code and who uses them.

    `run` removes what nobody needs any more; with `looks_ahead` it fetches what is deployed before it is called.
    """

    def __init__(
        self,
        root: Path,
        source: CodeSource,
        artifacts: ArtifactSource,
        *,
        tmp_mb: int,
        log_limit_bytes: int,
        looks_ahead: bool = False,
    ) -> None:
        self._root, self._source, self._artifacts = root, source, artifacts
        self._tmp_mb, self._log_limit_bytes = tmp_mb, log_limit_bytes
        self._directories: dict[Path, _Directory] = {}
        self._useless = anyio.Event()
        self._looks_ahead = looks_ahead
        self._wanted: dict[tuple[UUID, int], Function] = {}  # to be fetched ahead, by slot
        self._used: dict[UUID, dict[int, Path]] = {}  # what the versions run that are served, by pin
        self._is_wanted = anyio.Event()
        self._ahead_bytes: dict[Path, int] = {}  # fetched, and not used yet
        self._threads = anyio.CapacityLimiter(_WRITERS)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Remove what a killed run left, then whatever becomes useless, until cancelled. Started means ready."""
        await anyio.to_thread.run_sync(_clear, self._root, limiter=self._threads)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._fetch_ahead)
            task_status.started()
            await self._remove_useless()

    async def _remove_useless(self) -> None:
        while True:
            with anyio.move_on_after(_CHECK_S):
                await self._useless.wait()
            self._useless = anyio.Event()
            for directory in list(self._directories.values()):
                if directory.is_superseded and directory.users == 0:
                    del self._directories[directory.path]
                    self._ahead_bytes.pop(directory.path, None)
                    await anyio.to_thread.run_sync(_remove, directory.path, limiter=self._threads)

    async def _fetch_ahead(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted = anyio.Event()
            while self._wanted:
                function = self._wanted.pop(next(iter(self._wanted)))
                if len(self._ahead_bytes) >= _AHEAD_MAX or sum(self._ahead_bytes.values()) >= _AHEAD_BYTES:
                    continue
                try:
                    spec = await self.acquire(function)
                except (ConstellationError, OSError) as error:  # the first start tries again, and its caller hears
                    log.info("code.not_fetched_ahead", function=function.name, reason=str(error))
                    continue
                directory = self._directories[spec.code_dir]
                if directory.users == 1:
                    self._ahead_bytes[directory.path] = directory.size_bytes
                self.release_nowait(spec)

    async def acquire(self, function: Function) -> InstanceSpec:
        """Make the function's code ready and return what to boot; the files stay until `release_nowait`.

        Raises:
            CodeCorrupt: the stored code is damaged.
            NotFound, DatabaseUnavailable: it is not there, or can not be read now.
        """
        path = self._path(function)
        directory = self._directories.setdefault(path, _Directory(path, function.id))
        directory.users += 1
        self._ahead_bytes.pop(path, None)
        try:
            if not directory.is_ready:  # else without suspending: a start waits
                async with directory.lock:
                    if not directory.is_ready:
                        directory.size_bytes = await self._materialise(function, path)
                        directory.is_ready = True
        except BaseException:
            directory.users -= 1
            self._retire_if_useless(directory, is_failed=not directory.is_ready)
            raise
        return InstanceSpec(
            tenant=function.tenant,
            namespace=function.namespace,
            function_id=function.id,
            function_name=function.name,
            function_version=str(function.live_version),
            runtime=function.runtime,
            handler=function.handler,
            code_dir=path,
            env=function.env,
            preload=function.preload,
            backend=function.backend,
            network=function.network,
            memory_mb=function.memory_mb,
            cpu_millis=function.cpu_millis,
            max_pids=function.max_pids,
            tmp_mb=self._tmp_mb,
            concurrency=function.instance_concurrency,
            log_limit_bytes=self._log_limit_bytes,
        )

    def release_nowait(self, spec: InstanceSpec) -> None:
        """One user less."""
        directory = self._directories[spec.code_dir]
        directory.users -= 1
        self._retire_if_useless(directory)

    def update(self, function: Function, *, is_suspended: bool) -> None:
        """The function's live code is this version now."""
        path = self._path(function)
        self._used.setdefault(function.id, {})[function.pin] = path
        self._supersede(function.id)
        if not function.is_runnable:
            return  # nothing was built yet
        if self._looks_ahead and not is_suspended and path not in self._directories and len(self._wanted) < _AHEAD_MAX:
            self._wanted[function.slot] = function
            self._is_wanted.set()

    def remove(self, function_id: UUID) -> None:
        """The function is deleted."""
        self._wanted.pop((function_id, 0), None)
        self._used.pop(function_id, None)
        self._supersede(function_id)

    def unpin(self, function: Function) -> None:
        """A version is not served beside the live one any more."""
        self._wanted.pop(function.slot, None)
        self._used.get(function.id, {}).pop(function.pin, None)
        self._supersede(function.id)

    def forget(self, function_id: UUID) -> None:
        """The files stay: its next call needs them again."""

    def _supersede(self, function_id: UUID) -> None:
        """The files of the versions that are served stay; those of others go when nobody uses them."""
        used = self._used.get(function_id, {}).values()
        for directory in self._directories.values():
            if directory.function_id == function_id:
                directory.is_superseded = directory.path not in used
                self._retire_if_useless(directory)

    def _retire_if_useless(self, directory: _Directory, *, is_failed: bool = False) -> None:
        if directory.users == 0 and (directory.is_superseded or is_failed):
            directory.is_superseded = True
            self._useless.set()

    def _path(self, function: Function) -> Path:
        version = f"{function.code_version}-{function.code_hash[:12]}"
        return self._root / function.tenant / str(function.id) / version

    async def _materialise(self, function: Function, path: Path) -> int:
        """Write the files; return how many bytes they have."""
        code = await self._source.code(function.tenant, function.id, function.code_version)
        if (
            code.artifact is None and EVERY[function.runtime].is_compiled
        ):  # else sources could pass for what a build made
            raise CodeCorrupt(function.name, version=function.code_version, reason="was never built")
        if code.artifact is None:
            await self._in_thread(partial(_write, function, code.files, path))
            return sum(map(len, code.files.values()))
        packed = path.with_name(f".{path.name}.packed")
        try:
            await self._in_thread(partial(_begin, packed))
            async with await anyio.open_file(packed, "wb") as file:
                async for part in self._artifacts.parts(function.tenant, code.artifact):
                    await file.write(part)
            return await self._in_thread(partial(_unpack, function, packed, path, code.artifact))
        finally:
            packed.unlink(missing_ok=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


_PARENTS = threading.Lock()  # directories of tenants and functions are made and removed by threads at the same time


def _write(function: Function, files: Mapping[str, bytes], path: Path) -> None:
    """Write all files under a name that nobody looks at, then give the directory its own."""
    if code_hash(files) != function.code_hash:
        raise CodeCorrupt(function.name, version=function.code_version, reason="does not have its hash")
    partial_path = _partial(path)
    try:
        write_files(files, partial_path, are_programs=bool(EVERY[function.runtime].lambda_api))
    except ValueError as error:
        raise CodeCorrupt(function.name, version=function.code_version, reason=str(error)) from error
    _publish(partial_path, path)


def _unpack(function: Function, packed: Path, path: Path, digest: str) -> int:
    """Unpack a built tree likewise; return how many bytes it has."""
    partial_path = _partial(path)
    try:
        size_bytes = unpack(packed, partial_path, digest=digest)
    except TreeRefused as error:
        shutil.rmtree(partial_path, ignore_errors=True)
        raise CodeCorrupt(function.name, version=function.code_version, reason=str(error)) from error
    _publish(partial_path, path)
    return size_bytes


def _partial(path: Path) -> Path:
    """Make the empty directory in which the files are written before anybody looks."""
    partial_path = path.with_name(f".{path.name}")
    shutil.rmtree(partial_path, ignore_errors=True)  # of a cancelled attempt
    with _PARENTS:
        _make_parents(path)
        make_directory(partial_path)
    return partial_path


def _begin(packed: Path) -> None:
    with _PARENTS:
        _make_parents(packed)
        packed.touch()


def _make_parents(path: Path) -> None:
    for parent in (path.parent.parent, path.parent):
        make_directory(parent)


def _publish(partial_path: Path, path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    partial_path.rename(path)


def write_files(files: Mapping[str, bytes], into: Path, *, are_programs: bool = False) -> None:
    """Write files below a directory that is made for them, readable by all whatever the umask is. Blocks.

    Code travels without modes, so where some of it may be executed, all of it may.

    Raises:
        ValueError: a path would leave the directory.
    """
    make_directory(into)
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise ValueError(f"has the path {name!r}")
        target = into.joinpath(*parts)
        for parent in reversed(target.relative_to(into).parents[:-1]):
            make_directory(into / parent)
        with new_file(target, mode=0o755 if are_programs else 0o644) as file:
            file.write(content)


def make_directory(directory: Path) -> None:
    """Make a directory that all may read, and those above it. Blocks."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # whatever the umask is


def _clear(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    make_directory(root)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with _PARENTS:
        _remove_parents(path)


def _remove_parents(path: Path) -> None:
    for parent in (path.parent, path.parent.parent):
        try:
            parent.rmdir()
        except OSError:  # another version or function lives there
            return
