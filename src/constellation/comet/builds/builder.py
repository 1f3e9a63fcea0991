"""Builds in sandboxes of the kind that functions have: their tools reach their sources, and of the network what is configured.

The sandbox has a directory in memory to write to. What it leaves in /build/out comes back as a stream of bytes
(`unpack`), so the host never looks into a directory that hostile code can change.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.builds.contract import BuilderUnavailable, BuildFailed, BuildRequest
from constellation.comet.builds.follow import follow
from constellation.comet.builds.output import Output
from constellation.comet.builds.plans import limits_of, plan_of_build
from constellation.comet.builds.proxy import Proxy
from constellation.comet.builds.registry import TOOLCHAINS
from constellation.comet.builds.seeds import Seeds
from constellation.comet.builds.sources import Sources
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.native.zygote import SpawnFailed, ZygoteGone

_log = structlog.get_logger()
_SEED_MB, _SEED_S = 2048, 900.0  # chosen: Go's standard library takes a minute of two slow cores and 150 MiB


class SandboxBuilder:
    """Implements `Builder`. Usable after `find`, while the backend runs."""

    def __init__(
        self,
        backend: NamespaceBackend,
        *,
        work_dir: Path,
        cache_dir: Path,
        sources: Sources,
        toolchains: Mapping[str, Toolchain] = TOOLCHAINS,
    ) -> None:
        self._backend, self._sources, self._toolchains = backend, sources, toolchains
        self._work_dir, self._seeds = work_dir, Seeds(cache_dir)
        self._found: Mapping[str, tuple[Tools, str] | str] = {}

    async def find(self) -> None:
        """Look for the tools on this host, and remove what a killed run left."""
        self._found = await anyio.to_thread.run_sync(_find, self._toolchains)
        await anyio.to_thread.run_sync(_clear, self._work_dir)
        await anyio.to_thread.run_sync(self._seeds.keep, {self._key(runtime) for runtime in self._found})

    def _key(self, runtime: str) -> str:
        """Return what the runtime's seed is called; "" where its tools are missing."""
        found = self._found[runtime]
        return "" if isinstance(found, str) else f"{runtime}-{found[0].version}-{found[1]}".replace(" ", "-")

    def toolchain(self, runtime: str) -> str:
        tools, fingerprint = self._get(runtime)
        return f"{runtime} {tools.version} {fingerprint}"

    def _get(self, runtime: str) -> tuple[Tools, str]:
        unknown = (
            "its tools have not been looked for yet" if runtime in self._toolchains else "there is no such runtime"
        )
        found = self._found.get(runtime, unknown)
        if isinstance(found, str):
            raise BuilderUnavailable(runtime, reason=found)
        return found

    async def build(self, request: BuildRequest, *, log: Callable[[bytes], None]) -> None:
        """Fill `request.output`. If cancelled, everything that was started has ended before control returns.

        Raises:
            BuildFailed, BuilderUnavailable
        """
        self._get(request.runtime)
        toolchain = self._toolchains[request.runtime]
        cache: Path | None = None
        if toolchain.has_seed:
            cache = await self._seeds.get(
                self._key(request.runtime),
                lambda output: self._run(_seed_of(request, toolchain, output), "seed.sh", None, log=log),
            )
        await self._run(request, "build.sh", cache, log=log)

    async def _run(
        self, request: BuildRequest, script: str, cache: Path | None, *, log: Callable[[bytes], None]
    ) -> None:
        output = Output(log)
        try:
            with anyio.fail_after(request.timeout_s):
                async with self._sandbox(request, script, cache, output) as sandbox:
                    await follow(request, sandbox, output, has_memory_group=self._backend.has_memory_group)
        except TimeoutError as error:
            raise BuildFailed(f"it took longer than the {request.timeout_s:g} s that a build may take") from error
        except (SandboxStartFailed, SpawnFailed, ZygoteGone) as error:
            raise BuilderUnavailable(request.runtime, reason=str(error)) from error
        except OSError as error:
            raise BuilderUnavailable(request.runtime, reason=f"this host's disk: {error}") from error

    @asynccontextmanager
    async def _sandbox(
        self, request: BuildRequest, script: str, cache: Path | None, output: Output
    ) -> AsyncIterator[Sandbox]:
        """Lend the sandbox of a build, already running, with its way out."""
        toolchain, (tools, _) = self._toolchains[request.runtime], self._get(request.runtime)
        endpoints = frozenset[tuple[str, int]]().union(
            *(source.endpoints for source in self._sources.of(toolchain.registries))
        )
        own_dir = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="b", dir=self._work_dir)))
        socket_path = own_dir / "s" if endpoints else None
        try:
            async with (
                _serving(socket_path, endpoints, output),
                self._backend.lend(
                    limits_of(request),
                    lambda slot: plan_of_build(
                        request,
                        slot,
                        toolchain,
                        tools,
                        sources=self._sources,
                        proxy=socket_path,
                        cache=cache,
                        script=script,
                        may_share_memory=self._backend.has_memory_group,
                    ),
                    tenant=request.tenant,
                ) as sandbox,
            ):
                yield sandbox
        finally:
            with anyio.CancelScope(shield=True):  # bounded: it holds one socket
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(own_dir, ignore_errors=True))


def _seed_of(request: BuildRequest, toolchain: Toolchain, output: Path) -> BuildRequest:
    """Return what makes the toolchain's cache: a build on the platform's own account, of nobody's sources."""
    return replace(
        request,
        tenant="",
        namespace="",
        sources=toolchain.recipe,
        output=output,
        memory_mb=_SEED_MB,
        disk_mb=_SEED_MB,
        timeout_s=_SEED_S,
    )


@asynccontextmanager
async def _serving(path: Path | None, endpoints: frozenset[tuple[str, int]], output: Output) -> AsyncIterator[None]:
    if path is None:
        yield
        return
    async with Proxy(endpoints, say=output.say).serving(path):
        yield


def _find(toolchains: Mapping[str, Toolchain]) -> dict[str, tuple[Tools, str] | str]:
    return {name: _look(toolchain) for name, toolchain in toolchains.items()}


def _look(toolchain: Toolchain) -> tuple[Tools, str] | str:
    try:
        tools = toolchain.find()
    except BuilderUnavailable as error:
        _log.info("toolchain.missing", runtime=toolchain.runtime, reason=error.reason)
        return error.reason
    return tools, toolchain.fingerprint()


def _clear(work_dir: Path) -> None:
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True, mode=0o700)
