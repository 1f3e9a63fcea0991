"""Backends with a reactor of their own, for tests of sandboxes without a plane around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from constellation.comet.docker.backend import DockerBackend
from constellation.comet.docker.settings import DockerSettings
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.native.link import Links
from constellation.native.reactor import Reactor


@asynccontextmanager
async def running_backend(settings: NamespaceSettings) -> AsyncIterator[NamespaceBackend]:
    """Run a namespace backend for the length of the block."""
    reactor = Reactor()
    with reactor.turning():
        backend = NamespaceBackend(settings, Links(reactor))
        async with backend.run():
            yield backend


@asynccontextmanager
async def running_docker(settings: DockerSettings) -> AsyncIterator[DockerBackend]:
    """Run a docker backend for the length of the block."""
    reactor = Reactor()
    with reactor.turning():
        backend = DockerBackend(settings, Links(reactor))
        async with backend.run():
            yield backend
