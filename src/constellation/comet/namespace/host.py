"""What this host can do for sandboxes: looked at once, when the backend starts."""

from __future__ import annotations

import os
from typing import NamedTuple

import anyio
import anyio.to_thread
import structlog

from constellation.comet import volumes
from constellation.comet.backend.contract import BackendSupport
from constellation.comet.namespace import nurseries
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.namespace.slots import enforced
from constellation.comet.network.host import egress
from constellation.comet.runtimes.registry import Registry
from constellation.native.cgroups import CgroupSupport, detect
from constellation.native.probe import probe

SANDBOXES = ("exec", "terminal", "files", "processes", "ports", "pause", "fork")
_log = structlog.get_logger()


class Host(NamedTuple):
    """What was found."""

    registry: Registry
    cgroups: CgroupSupport | None
    support: BackendSupport


async def look(name: str, settings: NamespaceSettings) -> Host:
    """Find out, and log, what the backend of that name can here."""
    registry = await anyio.to_thread.run_sync(Registry.find, settings.interpreters)
    result = await anyio.to_thread.run_sync(probe)
    means, egress_reason = await egress(name)
    cgroups = detect(settings.group) if settings.use_cgroups else None
    limits = {**enforced(cgroups), "egress": means, "volumes": "none" if volumes.missing() else "file system image"}
    support = BackendSupport(
        name=name,
        available=result.is_able,
        reason="" if result.is_able else f"{result.reason}; {result.advice}",
        limits=limits,
        preload_reason=nurseries.missing(limits, is_root=os.geteuid() == 0),
        egress_reason=egress_reason,
        missing_runtimes=registry.missing,
        sandboxes=SANDBOXES,
    )
    _log.info("backend.probed", backend=name, available=support.available, reason=support.reason)
    for limit, means in limits.items():
        (_log.warning if means == "none" else _log.info)("backend.limit", limit=limit, means=means)
    if support.preload_reason:
        _log.warning(
            "backend.preload", means="none", reason=support.preload_reason, effect="instances start the ordinary way"
        )
    return Host(registry, cgroups, support)
