"""The Docker daemon's API as far as containers of functions need it: every request has a deadline, every answer a shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiodocker
import aiohttp
import anyio
import msgspec

from constellation.base.errors import ConstellationError

_CONNECTIONS = 64  # chosen: of one executor at a time; whoever comes later stands in line within its own deadline
_NOT_FOUND, _CONFLICT = 404, 409
_AGAIN_S = 0.05  # chosen: between attempts to remove what is being removed or has a busy mount

T = TypeVar("T")


class EngineFailed(ConstellationError):
    """The daemon refused, could not be reached, or did not answer in time."""

    code, http_status, retryable = "docker_failed", 503, True

    def __init__(self, act: str, *, reason: str, status: int = 0) -> None:
        super().__init__(f"docker: {act}: {reason}")
        self.reason, self.status = reason, status  # the daemon's own, 0 when it gave none

    @property
    def is_not_found(self) -> bool:
        return self.status == _NOT_FOUND


class Info(msgspec.Struct, kw_only=True, rename="pascal"):
    """What the daemon says of its host."""

    server_version: str
    os_type: str = msgspec.field(name="OSType", default="")
    memory_limit: bool = False
    cpu_cfs_quota: bool = False
    pids_limit: bool = False
    cgroup_version: str = "1"
    security_options: Sequence[str] | None = None


class _ImageConfig(msgspec.Struct, kw_only=True, rename="pascal"):
    volumes: Mapping[str, Any] | None = None
    entrypoint: Sequence[str] | None = None
    cmd: Sequence[str] | None = None


class Image(msgspec.Struct, kw_only=True, rename="pascal"):
    id: str
    config: _ImageConfig | None = None
    repo_tags: Sequence[str] | None = None
    repo_digests: Sequence[str] | None = None

    @property
    def program(self) -> list[str]:
        """What it starts by itself."""
        return [*(self.config.entrypoint or ()), *(self.config.cmd or ())] if self.config is not None else []

    @property
    def volumes(self) -> list[str]:
        """Where containers of it would get storage that no limit of ours holds for."""
        return sorted(self.config.volumes or ()) if self.config is not None else []


class State(msgspec.Struct, kw_only=True, rename="pascal"):
    """How a container ended."""

    exit_code: int = 0
    is_out_of_memory: bool = msgspec.field(name="OOMKilled", default=False)


class _Shown(msgspec.Struct, kw_only=True, rename="pascal"):
    state: State


class _Version(msgspec.Struct, kw_only=True, rename="pascal"):
    api_version: str


class _CpuUsage(msgspec.Struct, kw_only=True):
    total_usage: int = 0  # nanoseconds


class _CpuStats(msgspec.Struct, kw_only=True):
    cpu_usage: _CpuUsage = msgspec.field(default_factory=_CpuUsage)


class _MemoryStats(msgspec.Struct, kw_only=True):
    usage: int | None = None
    stats: Mapping[str, int] = msgspec.field(default_factory=dict)


class _PidsStats(msgspec.Struct, kw_only=True):
    current: int | None = None


class Usage(msgspec.Struct, kw_only=True):
    """What a container uses now."""

    memory_stats: _MemoryStats = msgspec.field(default_factory=_MemoryStats)
    cpu_stats: _CpuStats = msgspec.field(default_factory=_CpuStats)
    pids_stats: _PidsStats = msgspec.field(default_factory=_PidsStats)

    @property
    def memory_bytes(self) -> int | None:
        """Without the pages of files, which the kernel drops when it needs them."""
        used, parts = self.memory_stats.usage, self.memory_stats.stats
        if used is None:
            return None
        return max(0, used - parts.get("total_inactive_file", parts.get("inactive_file", 0)))


class Engine:
    """One client of the daemon behind a unix socket. Made by `connected`."""

    def __init__(self, docker: aiodocker.Docker, *, call_s: float) -> None:
        self._docker, self._call_s = docker, call_s

    async def api_version(self) -> tuple[int, int]:
        """Return the newest version of the API that the daemon speaks."""
        with self._asking("version", self._call_s):
            major, _, minor = _read(await self._docker.version(), _Version).api_version.partition(".")
            return int(major), int(minor)

    async def info(self) -> Info:
        with self._asking("info", self._call_s):
            return _read(await self._docker.system.info(), Info)

    async def try_image(self, name: str) -> Image | None:
        """Look at an image of this host."""
        try:
            with self._asking(f"image {name}", self._call_s):
                return _read(await self._docker.images.inspect(name), Image)
        except EngineFailed as error:
            if error.is_not_found:
                return None
            raise

    async def pull(self, name: str, *, credentials: Mapping[str, str] | None, told: Callable[[str], None]) -> None:
        """Have an image fetched, for as long as the caller lets us; `told` gets the daemon's lines, not every byte's."""
        with self._asking(f"pull {name}", None):
            auth = None if credentials is None else dict(credentials)
            async for each in self._docker.images.pull(name, auth=auth, stream=True):
                line = _progress(each)
                if line:
                    told(line)

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container; return its id."""
        with self._asking("create", self._call_s):
            return (await self._docker.containers.create(config, name=name)).id

    async def start(self, container: str) -> None:
        with self._asking("start", self._call_s):
            await self._docker.containers.container(container).start()

    async def kill(self, container: str) -> None:
        """Send SIGKILL to the whole tree; one that has ended is left as it is."""
        try:
            with self._asking("kill", self._call_s):
                await self._docker.containers.container(container).kill()
        except EngineFailed as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise

    async def ended(self, container: str) -> State:
        """Wait until a started container has ended, for as long as the caller lets us."""
        with self._asking("wait", None):
            shown = self._docker.containers.container(container)
            await shown.wait()
        with self._asking("inspect", self._call_s):
            return _read(await shown.show(), _Shown).state

    async def remove(self, container: str, *, within_s: float) -> bool:
        """End a container and all that is in it; True once it is gone, or was never there."""
        with anyio.move_on_after(within_s):
            while True:
                try:
                    with self._asking("remove", self._call_s):
                        await self._docker.containers.container(container).delete(force=True, v=True)
                except EngineFailed as error:  # busy, or another request removes it already: until it is not found
                    if error.is_not_found:
                        return True
                    if not error.status:
                        return False
                    await anyio.sleep(_AGAIN_S)
                else:
                    return True
        return False

    async def labelled(self, label: str) -> dict[str, str]:
        """Return name -> id of the containers with a label, running or not."""
        wanted = msgspec.json.encode({"label": [label]}).decode()
        with self._asking("list", self._call_s):
            listed = await self._docker.containers.list(all="true", filters=wanted)
            return {str(each["Names"][0]).lstrip("/"): each.id for each in listed}

    async def pause(self, container: str) -> None:
        """Let every process in it stand still; one that does is left as it is."""
        with self._asking("pause", self._call_s):
            await self._docker.containers.container(container).pause()

    async def resume(self, container: str) -> None:
        with self._asking("unpause", self._call_s):
            await self._docker.containers.container(container).unpause()

    async def states(self, label: str) -> dict[str, tuple[str, str]]:
        """Return name -> (state, what the daemon says of it in words) of the containers with a label."""
        wanted = msgspec.json.encode({"label": [label]}).decode()
        with self._asking("list", self._call_s):
            listed = await self._docker.containers.list(all="true", filters=wanted)
            return {str(each["Names"][0]).lstrip("/"): (str(each["State"]), str(each["Status"])) for each in listed}

    async def usage(self, container: str) -> Usage:
        with self._asking("stats", self._call_s):
            [found] = await self._docker.containers.container(container).stats(stream=False)
            return _read(found, Usage)

    @contextmanager
    def _asking(self, act: str, within_s: float | None) -> Iterator[None]:
        try:
            if within_s is None:
                yield
            else:
                with anyio.fail_after(within_s):
                    yield
        except TimeoutError as error:
            raise EngineFailed(act, reason=f"no answer within {within_s or 0:g} s") from error
        except aiodocker.DockerError as error:  # above 599 are the library's own: no connection
            status = error.status if error.status < 600 else 0
            raise EngineFailed(act, reason=str(error.message).strip(), status=status) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailed(act, reason=str(error) or type(error).__name__) from error
        except (msgspec.ValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise EngineFailed(act, reason=f"an answer of another shape: {error}") from error


def _progress(event: Mapping[str, Any]) -> str:
    """Return what is worth a line: that a layer begins or has come, not how far it is."""
    status = str(event.get("status", ""))
    if not status or event.get("progressDetail") or status == "Waiting":
        return ""
    layer = event.get("id")
    return f"{layer}: {status}" if layer else status


def _read(answer: object, kind: type[T]) -> T:
    return msgspec.convert(answer, kind, strict=False)


@asynccontextmanager
async def connected(socket: Path, *, call_s: float) -> AsyncIterator[Engine]:
    """Lend a client for the length of the block. Connects with each request, so there is no stale connection to meet."""
    connector = aiohttp.UnixConnector(str(socket), limit=_CONNECTIONS, force_close=True)
    session = aiohttp.ClientSession(connector=connector)
    try:
        docker = aiodocker.Docker(url="unix://localhost", connector=connector, session=session)
        yield Engine(docker, call_s=call_s)
    finally:
        with anyio.CancelScope(shield=True):  # bounded: closes descriptors, waits for nobody
            await session.close()
