"""A builder with sandboxes of its own, and the functions that it has built, for tests without a plane around them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Instance, InstanceSpec
from constellation.comet.builds.builder import SandboxBuilder
from constellation.comet.builds.contract import BuildRequest
from constellation.comet.builds.registry import TOOLCHAINS
from constellation.comet.builds.sources import Sources, sources_of
from constellation.comet.builds.toolchain import Toolchain
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.nova.config.sections import BuildSettings


class BuildRig:
    """Builds sources below a directory, and starts what came of them."""

    def __init__(self, backend: NamespaceBackend, builder: SandboxBuilder, root: Path) -> None:
        self.backend, self.builder, self._root = backend, builder, root
        self.said = b""  # by the last build

    def request(self, runtime: str, files: Mapping[str, str | bytes], **fields: Any) -> BuildRequest:
        """Write the sources and return what builds them."""
        build_id = uuid7()
        sources, output = self._root / f"{build_id}-src", self._root / f"{build_id}-out"
        for directory in (sources, output):
            directory.mkdir()
            directory.chmod(0o755)
        for name, content in files.items():
            path = sources / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        defaults: dict[str, Any] = {
            "tenant": "acme", "namespace": "prod", "function_id": uuid7(), "function_name": "f", "handler": "main.handler",
        }  # fmt: skip
        return BuildRequest(
            **(defaults | {"build_id": build_id, "runtime": runtime, "sources": sources, "output": output} | fields)
        )

    async def built(self, runtime: str, files: Mapping[str, str | bytes], **fields: Any) -> BuildRequest:
        """Build; what was said stays in `said`."""
        self.said = b""
        request = self.request(runtime, files, **fields)
        await self.builder.build(request, log=self._hear)
        return request

    def _hear(self, data: bytes) -> None:
        self.said += data

    @asynccontextmanager
    async def running(self, request: BuildRequest, **fields: Any) -> AsyncIterator[Instance]:
        """Start an instance of what a build has made."""
        defaults: dict[str, Any] = {
            "tenant": request.tenant,
            "namespace": request.namespace,
            "function_id": request.function_id,
            "function_name": request.function_name,
            "function_version": "1",
            "runtime": request.runtime,
            "handler": request.handler,
            "code_dir": request.output,
        }
        instance = await self.backend.create(InstanceSpec(**(defaults | fields)), timeout_s=30)
        try:
            await instance.init(timeout_s=30)
            yield instance
        finally:
            await instance.destroy()


@asynccontextmanager
async def build_rig(
    backend: NamespaceBackend,
    root: Path,
    *,
    sources: Sources | None = None,
    toolchains: Mapping[str, Toolchain] = TOOLCHAINS,
    cache_dir: Path | None = None,
) -> AsyncIterator[BuildRig]:
    """Lend a rig for the length of the block."""
    builder = SandboxBuilder(
        backend,
        work_dir=root / "w",
        cache_dir=cache_dir or root / "c",
        sources=sources or sources_of(BuildSettings()),
        toolchains=toolchains,
    )
    await builder.find()
    try:
        yield BuildRig(backend, builder, root)
    finally:
        shutil.rmtree(root / "w", ignore_errors=True)
