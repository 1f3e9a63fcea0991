"""Where interactive sandboxes of a plane live, as its settings say."""

from __future__ import annotations

from collections.abc import Callable

from constellation.aurora.observability.plane import PlaneContext
from constellation.comet.backend.router import Router
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import group_name
from constellation.comet.runtimes.registry import Registry
from constellation.comet.sandboxes.containers import Containers
from constellation.comet.sandboxes.holds import Holds
from constellation.comet.sandboxes.keeping import Keeping
from constellation.comet.sandboxes.machines import Machines, Place
from constellation.comet.sandboxes.namespaces import Namespaces
from constellation.comet.sandboxes.templates import Templates
from constellation.nova.config.sections import Settings
from constellation.nova.store.sandboxes import Sandboxes


def _languages(router: Router) -> Callable[[], Registry]:
    namespace = next((each for each in router.backends if isinstance(each, NamespaceBackend)), None)
    return lambda: Registry({}, {}) if namespace is None else namespace.runtimes


def machines_of(
    context: PlaneContext, settings: Settings, book: Sandboxes, router: Router, holds: Holds, *, uid_base: int
) -> Machines:
    """Return what has the sandboxes of this node; `uid_base` is the host's user of the first in a namespace."""
    namespaces = Namespaces(
        Keeping(
            context.state_dir / "run" / "sandboxes",
            group=group_name(context.state_dir / "sandboxes"),
            uid_base=uid_base,
        ),
        Templates(_languages(router)),
    )
    places: dict[str, Place] = {"namespace": namespaces}
    docker = next((each for each in router.backends if isinstance(each, DockerBackend)), None)
    if docker is not None:
        places[docker.name] = Containers(docker, context.state_dir / "run" / "sandbox-containers")
    return Machines(book, places, holds, node=context.node, tend_s=settings.sandboxes.tend_s)
