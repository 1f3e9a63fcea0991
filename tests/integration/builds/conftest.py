"""A builder on a namespace backend of the tests' own."""

from __future__ import annotations

import pytest

from constellation.comet.namespace.settings import NamespaceSettings
from constellation.testing.builds import build_rig
from constellation.testing.sandboxes import running_backend


@pytest.fixture
async def rig(tmp_path):
    tmp_path.chmod(0o755)
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=f"constellation-b{tmp_path.name[-6:]}")
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        async with build_rig(backend, tmp_path) as rig:
            yield rig
