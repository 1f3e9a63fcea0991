"""How the dependencies of Node.js functions are installed: by npm, from their lock file."""

from __future__ import annotations

import json
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.runtimes.node.recipe import RUNTIME
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import NODE

# Where npm lies beside a node of the wheel or of nodejs.org, of NodeSource's package, and of Debian's
_PLACES = (
    "../lib/node_modules/npm",
    "/usr/local/lib/node_modules/npm",
    "/usr/lib/node_modules/npm",
    "/usr/share/nodejs/npm",
)


def _asked(_found: tuple[Path, ...]) -> Tools:
    try:
        node = RUNTIME.find(None)
    except RuntimeUnavailable as error:
        raise BuilderUnavailable(NODE.id, reason=error.reason) from error
    npm = next((place for place in (node.path.parent.joinpath(p) for p in _PLACES) if place.is_dir()), None)
    if npm is None:
        raise BuilderUnavailable(NODE.id, reason=f"there is no npm beside {node.path}; install the package npm")
    version = json.loads((npm / "package.json").read_text())["version"]
    return Tools(
        version=f"{node.version} npm {version}",
        path=(Path("/run/tools/bin"),),
        binds=(
            Bind(source=str(node.path), target="/run/tools/bin/node"),
            Bind(source=str(npm.resolve()), target="/run/tools/npm"),
        ),
    )


TOOLCHAIN = Toolchain(
    runtime=NODE.id,
    recipe=Path(__file__).parent / "install",
    programs=(),
    asked=_asked,
    registries=("npm",),
)
