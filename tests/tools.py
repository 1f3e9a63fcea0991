"""Programs that tests check our output with, taken from the distribution and kept under build/tools."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "build" / "tools"


@cache
def promtool() -> Path:
    """Return Prometheus' own checker; skips the test, with the reason, where it can not be had."""
    installed = shutil.which("promtool")
    if installed:
        return Path(installed)
    return _from_package("prometheus", "usr/bin/promtool")


def _from_package(package: str, path: str) -> Path:
    """Return one file of a Debian package, which is downloaded once and not installed."""
    tool = TOOLS / Path(path).name
    if tool.exists():
        return tool
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip(f"{tool.name} is not installed, and there is no apt-get to download {package} with")
    TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as work:
        download = ["apt-get", "-q", "download", package]
        done = subprocess.run(download, cwd=work, capture_output=True, text=True, timeout=300, check=False)
        packages = list(Path(work).glob("*.deb"))
        if done.returncode != 0 or not packages:
            reason = (done.stderr.strip().splitlines() or ["no package came"])[-1]
            pytest.skip(f"{tool.name} is not installed, and apt-get can not download {package}: {reason}")
        subprocess.run(["dpkg-deb", "-x", packages[0], "tree"], cwd=work, check=True, timeout=300)
        (Path(work) / "tree" / path).rename(tool)
    return tool
