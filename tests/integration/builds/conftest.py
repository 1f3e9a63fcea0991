"""Builders on namespace backends of the tests' own; one runs the shell script that is the source, whatever it does."""

from __future__ import annotations

import pytest

from constellation.comet.builds.registry import TOOLCHAINS
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.testing.builds import build_rig
from constellation.testing.sandboxes import running_backend


@pytest.fixture(params=["cgroups"])
async def rig(request, tmp_path):
    tmp_path.chmod(0o755)
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    recipe.chmod(0o755)
    (recipe / "build.sh").write_text(". /src/main.sh\n")
    script = Toolchain(
        runtime="script",
        recipe=recipe,
        find=lambda: Tools(version="1", path=()),
        is_compiled=True,
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
        async with build_rig(backend, tmp_path, toolchains={**TOOLCHAINS, "script": script}) as rig:
            yield rig
