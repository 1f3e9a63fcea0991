"""What is said where wasmtime is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from types import SimpleNamespace

import pytest

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.runtimes.wasm import recipe


def test_it_is_found_with_its_version():
    found = recipe.library()
    assert found.path.is_file()
    assert found.version == importlib.metadata.version("wasmtime")


@pytest.mark.parametrize(
    ("version", "has_library", "reason"),
    [
        (None, False, "is not installed"),
        ("49.0.0", True, "is 49.0.0, and 50 is needed"),
        ("50.1.2", False, "no library"),
    ],
)
def test_what_is_missing_is_said_exactly(tmp_path, monkeypatch, version, has_library, reason):
    if has_library:
        (tmp_path / "linux-x86_64").mkdir()
        (tmp_path / "linux-x86_64" / "_libwasmtime.so").write_bytes(b"")
    spec = None if version is None else SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    with pytest.raises(RuntimeUnavailable, match=reason):
        recipe.RUNTIME.find(None)
    with pytest.raises(BuilderUnavailable, match=reason):
        recipe.TOOLCHAIN.find()
