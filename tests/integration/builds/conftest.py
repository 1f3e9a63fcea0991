"""Builders on namespace backends of the tests' own; one runs the shell script that is the source, whatever it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from constellation.comet.builds.registry import TOOLCHAINS
from constellation.comet.builds.sources import sources_of
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.nova.config.sections import BuildSettings
from constellation.testing.builds import build_rig
from constellation.testing.sandboxes import running_backend

# Kept from run to run: Go's standard library takes a minute to compile
SEEDS = Path(__file__).parents[3] / "native" / "build" / "seeds"


@pytest.fixture
def sources():
    """Where packages come from; the public registries unless a test says otherwise."""
    return sources_of(BuildSettings())


@pytest.fixture(params=["cgroups"])
async def rig(request, tmp_path, sources):
    tmp_path.chmod(0o755)
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    recipe.chmod(0o755)
    (recipe / "build.sh").write_text(". /src/main.sh\n")
    script = Toolchain(
        runtime="script",
        recipe=recipe,
        programs=(),
        asked=lambda _: Tools(version="1"),
        registries=("pip",),
    )
    settings = NamespaceSettings(
        run_dir=tmp_path / "run",
        group=f"constellation-b{tmp_path.name[-6:]}",
        use_cgroups=request.param == "cgroups",
    )
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        toolchains = {**TOOLCHAINS, "script": script}
        async with build_rig(backend, tmp_path, sources=sources, toolchains=toolchains, cache_dir=SEEDS) as rig:
            yield rig
