"""What instances are made of on this host: code, layers, volumes, the values of secrets and what leads to databases."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from anyio.abc import TaskStatus

from constellation.aurora.observability.plane import PlaneContext
from constellation.comet.code import CodeShelf
from constellation.comet.databases.proxy import Proxy
from constellation.comet.layers import LayerShelf, LayerSources
from constellation.comet.pool.sources import Sources
from constellation.comet.resolving import NovaAnswers
from constellation.comet.secrets import NovaSecrets, SecretSources
from constellation.comet.volumes import VolumeShelf, VolumeSources
from constellation.nova.config.sections import Settings
from constellation.nova.store.artifacts import Artifacts
from constellation.nova.store.functions import Functions
from constellation.nova.store.layers import Layers
from constellation.nova.store.pool import Database
from constellation.nova.store.volumes import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """The shelves of this host, and `sources`, which takes what an instance needs from all of them."""

    sources: Sources
    code: CodeShelf
    layers: LayerShelf
    volumes: VolumeShelf
    proxy: Proxy

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the shelves until cancelled. Started means ready."""
        async with anyio.create_task_group() as tasks:
            for shelf in (self.code, self.layers, self.volumes, self.proxy.doors):
                await tasks.start(shelf.run)
            task_status.started()


def materials_of(
    context: PlaneContext,
    settings: Settings,
    db: Database,
    functions: Functions,
    nova: NovaAnswers,
    proxy: Proxy,
    *,
    looks_ahead: bool,
) -> Materials:
    """Return the shelves of a plane, each in a directory of its own; volumes are the host's, whichever plane mounts them."""
    state_dir, own = context.state_dir, "" if context.plane == "comet" else f"-{context.plane}"
    code = CodeShelf(
        state_dir / f"code{own}",
        functions,
        Artifacts(db),
        tmp_mb=max(1, settings.sandbox.tmp_bytes >> 20),
        log_limit_bytes=settings.sandbox.log_limit_bytes,
        looks_ahead=looks_ahead,
    )
    layers = LayerShelf(state_dir / f"layers{own}", Layers(db))
    volumes = VolumeShelf(state_dir / "volumes", state_dir / "run" / f"{context.plane}-volumes", Volumes(db))
    secrets = SecretSources(VolumeSources(LayerSources(code, layers), volumes), NovaSecrets(nova))
    return Materials(sources=proxy.sources(secrets), code=code, layers=layers, volumes=volumes, proxy=proxy)
