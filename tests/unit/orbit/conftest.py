"""A user's machine for each test. With ORBIT_TEST_URL set, `rig` speaks to that platform instead of the fake."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constellation.testing.orbit import OrbitRig
from constellation.testing.platform import FakePlatform


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def fake(tmp_path: Path, platform: FakePlatform) -> OrbitRig:
    """Orbit with a fake platform, for what only a fake can show."""
    return OrbitRig(home=tmp_path / "home", platform=platform)


@pytest.fixture
def rig(tmp_path: Path, platform: FakePlatform) -> OrbitRig:
    """Orbit with a platform, in a namespace of its own when that is a real one."""
    url = os.environ.get("ORBIT_TEST_URL")
    if url is None:
        return OrbitRig(home=tmp_path / "home", platform=platform)
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    env = {"ZENITH_URL": url, "NOVA_API_KEY": os.environ.get("NOVA_API_KEY", "")}
    rig = OrbitRig(home=tmp_path / "home", platform=None, env=env)
    assert rig.run("namespaces", "create", namespace).code == 0
    rig.env = {**env, "NOVA_NAMESPACE": namespace}
    return rig


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty directory for functions."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Ask again until the answer fits; what a platform tells a little later needs no sleep of a guessed length."""

    def ask(question: Callable[[], Any], *, until: Callable[[Any], bool], within_s: float = 10.0) -> Any:
        deadline = time.monotonic() + within_s
        while not until(answer := question()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return answer

    return ask
