"""A platform without nova and comet: their places are taken by files and by a script."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.nova.store.jobs import Jobs
from tests.integration.workers.rig import IDENTITY_KEY, SERVICE_TOKEN, Platform, ScriptedComet


@pytest.fixture
def platform(database) -> Iterator[Platform]:
    # The path of a unix socket has 107 bytes: pytest's own directories are too deep.
    state_dir = Path(tempfile.mkdtemp(prefix="ct-"))
    (state_dir / "service.token").write_text(SERVICE_TOKEN)
    (state_dir / "identity.key").write_text(IDENTITY_KEY)
    for plane in ("nebula", "corona", "aurora"):
        (state_dir / f"{plane}.dsn").write_text(database.dsn(plane))
    rig = Platform(state_dir)
    yield rig
    rig.kill()
    shutil.rmtree(state_dir)


@pytest.fixture
def jobs(db) -> Jobs:
    return Jobs(db)


@pytest.fixture
def comet(jobs) -> ScriptedComet:
    return ScriptedComet(jobs)
