"""What a plane builds with, and how much at a time, as its settings say."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter

from constellation.aurora.observability.plane import PlaneContext
from constellation.base.ids import uuid7
from constellation.comet.backend.router import Router
from constellation.comet.builds.builder import SandboxBuilder
from constellation.comet.builds.contract import Builder
from constellation.comet.builds.images import ImageBuilder
from constellation.comet.builds.sources import sources_of
from constellation.comet.builds.worker import BuildOptions
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.nova.config.live import InForce
from constellation.nova.config.sections import Settings


def builder_of(context: PlaneContext, settings: Settings, router: Router) -> Builder | None:
    """Return what builds code in this process, while the backends run; None: builds wait for a comet that can."""
    namespace = next((each for each in router.backends if isinstance(each, NamespaceBackend)), None)
    if context.plane != "comet" or namespace is None:
        return None
    sandboxes = SandboxBuilder(
        namespace,
        work_dir=context.state_dir / "building",
        cache_dir=context.state_dir / "toolchains",
        sources=sources_of(settings.builds),
    )
    containers = next((each for each in router.backends if isinstance(each, DockerBackend)), None)
    return sandboxes if containers is None else ImageBuilder(containers, sandboxes)


def build_options(context: PlaneContext, in_force: InForce) -> BuildOptions:
    settings = in_force.settings.builds
    return BuildOptions(
        owner=f"{context.node}/{uuid7()}",
        concurrency=settings.concurrency or max(1, (os.cpu_count() or 1) // 2),
        lease_s=settings.lease_s,
        safety_poll_s=settings.safety_poll_s,
        limits=lambda tenant: in_force.of(tenant).builds,
    )


def ended_builds(registry: CollectorRegistry) -> Counter:
    about = "Builds that ended here, by what became of them"
    return Counter("constellation_comet_builds", about, ["state"], registry=registry)
