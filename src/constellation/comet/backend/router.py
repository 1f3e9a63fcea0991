"""The backends of this host as one: each instance comes from the one that its function names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from constellation.comet.backend.contract import (
    Backend,
    BackendSupport,
    Instance,
    InstanceSpec,
    SandboxStartFailed,
)
from constellation.nova.domain.deploy import NOTHING_SHOWN
from constellation.nova.domain.function import AUTO_BACKEND


class Router:
    """Implements `Backend` over several; the first is the default, but for what `usual` names another for."""

    def __init__(self, backends: Sequence[Backend], *, usual: Mapping[str, str] | None = None) -> None:
        self.backends, self._usual = tuple(backends), usual or {}  # runtime id -> name of a backend

    @property
    def name(self) -> str:
        return self.backends[0].name

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run them all for the length of the block."""
        async with AsyncExitStack() as stack:
            for backend in self.backends:
                await stack.enter_async_context(backend.run())
            yield

    def support(self) -> BackendSupport:
        return self.backends[0].support()

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> Instance:
        """Make an instance in the backend that its function names; "auto" is the usual one of its runtime, or else
        the first that can run here.

        Raises:
            SandboxStartFailed, RuntimeUnavailable
        """
        backend = self._chosen(spec.backend, spec.runtime)
        if spec.secret_files and backend.name in NOTHING_SHOWN:
            raise SandboxStartFailed(step="secrets", reason=f"{backend.name} can not show them as files; use $SECRET:")
        if spec.sockets_dir is not None and backend.name in NOTHING_SHOWN:
            raise SandboxStartFailed(step="databases", reason=f"{backend.name} can not show their sockets")
        return await backend.create(spec, timeout_s=timeout_s)

    def _chosen(self, name: str, runtime: str) -> Backend:
        if name == AUTO_BACKEND:
            able = [each for each in self.backends if each.support().available]
            usual = [each for each in able if each.name == self._usual.get(runtime)]
            return next(iter(usual or able), self.backends[0])
        for each in self.backends:
            if each.name == name:
                return each
        names = ", ".join(each.name for each in self.backends)
        raise SandboxStartFailed(step="backend", reason=f"{name!r} is not one of this node's: {names}")

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        """Let those that have templates keep them."""
        for backend in self.backends:
            await backend.keep_templates(runtimes, memory_bytes=memory_bytes)
