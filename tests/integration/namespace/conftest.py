"""A namespace backend of the test's own; one on a host of the test's own, with a small internet around it."""

from __future__ import annotations

import os

import pytest

from constellation.comet.namespace.settings import NamespaceSettings
from constellation.testing.sandboxes import running_backend
from tests.integration.namespace.internet import on_a_host


@pytest.fixture
async def backend(tmp_path):
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=f"constellation-t{tmp_path.name[-6:]}")
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        yield backend


@pytest.fixture
def internet(tmp_path):
    """The test's thread is on a host with a way out; its machines and what they were asked."""
    if os.geteuid() != 0:
        pytest.skip("only root makes networks")
    with on_a_host(tmp_path) as internet:
        yield internet


@pytest.fixture
async def wired(internet, tmp_path):
    """A backend on that host."""
    settings = NamespaceSettings(
        run_dir=tmp_path / "run", group=f"constellation-w{tmp_path.name[-6:]}", resolv_conf=internet.resolv_conf
    )
    async with running_backend(settings) as backend:
        if backend.support().egress_reason:
            pytest.skip(backend.support().egress_reason)
        yield backend
