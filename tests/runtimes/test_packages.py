"""Packages as a language's own installer makes them, in the code of a function."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.runtimes.conftest import CHOSEN, call
from tests.runtimes.table import SNOWMAN

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

_DESCRIPTION = "Package: snow\nVersion: 1.0\nTitle: Snow\nDescription: It falls.\nLicense: none\nEncoding: UTF-8\n"


@pytest.mark.skipif("r" not in CHOSEN, reason="RUNTIMES does not name r")
@pytest.mark.parametrize("runtime", ["r"], indirect=True)
async def test_an_installed_r_package_is_attached(rig, registry, runtime, tmp_path):
    package, library = tmp_path / "snow", tmp_path / "library"
    for path, text in {
        "DESCRIPTION": _DESCRIPTION,
        "NAMESPACE": "export(fall)\n",
        "R/snow.R": 'fall <- function() "\\u2603"\n',
    }.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    library.mkdir()
    program = registry.get(runtime).interpreter.path
    subprocess.run([program, "CMD", "INSTALL", "-l", library, package], check=True, capture_output=True, timeout=100)
    files = {f"vendor/{path.relative_to(library)}": path.read_bytes() for path in library.rglob("*") if path.is_file()}
    async with rig.started("library(snow)\nhandler <- function(event, context) fall()\n", package=files) as instance:
        assert json.loads((await instance.invoke(call())).output) == SNOWMAN
