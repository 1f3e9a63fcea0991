"""A namespace backend of the test's own."""

from __future__ import annotations

import pytest

from constellation.comet.namespace.settings import NamespaceSettings
from constellation.testing.sandboxes import running_backend


@pytest.fixture
async def backend(tmp_path):
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=f"constellation-t{tmp_path.name[-6:]}")
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        yield backend
