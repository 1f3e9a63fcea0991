"""What a language finds in layers: packages as its own installer makes them, in its own place below /opt."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from constellation.comet.backend.contract import HandlerLoadFailed
from constellation.comet.runtimes.registry import Registry
from tests.runtimes.conftest import CHOSEN, call
from tests.runtimes.table import SNOWMAN, TABLE

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

_R = "Package: snow\nVersion: 1.0\nTitle: Snow\nDescription: It falls.\nLicense: none\nEncoding: UTF-8\n"


@dataclass(frozen=True, kw_only=True)
class Layer:
    files: Mapping[str, str]
    source: str = ""  # of a function that uses it; empty: that of the table
    make: Callable[[Registry, Path], None] = lambda _registry, _place: None  # makes what has to be compiled


def _install_r(registry: Registry, place: Path) -> None:
    (place / "R").mkdir()
    program = registry.get("r").interpreter.path
    command = [program, "CMD", "INSTALL", "-l", place / "R", place / "source"]
    subprocess.run(command, check=True, capture_output=True, timeout=100)


def _compile_elixir(registry: Registry, place: Path) -> None:
    ebin = place / "elixir" / "snow" / "ebin"
    ebin.mkdir(parents=True)
    program = registry.get("elixir").interpreter.path.with_name("elixirc")
    subprocess.run([program, "-o", ebin, place / "source.ex"], check=True, capture_output=True, timeout=100)


LAYERS = {
    "python": Layer(files={"python/snow.py": "def snow():\n    return '\u2603'\n"}),
    "node": Layer(files={"nodejs/node_modules/snow/index.js": "exports.snow = () => '\u2603';\n"}),
    "bun": Layer(
        files={"nodejs/node_modules/snow/index.js": "exports.snow = () => '\u2603';\n"},
        source="const { snow } = require('snow');\nexport const handler = () => snow();\n",
    ),
    "deno": Layer(
        files={"deno/snow.ts": "export const snow = (): string => '\u2603';\n"},
        source="import { snow } from '/opt/deno/snow.ts';\nexport const handler = () => snow();\n",
    ),
    "ruby": Layer(
        files={
            "ruby/specifications/snow-1.0.gemspec": "",
            "ruby/gems/snow-1.0/lib/snow.rb": "module Snow\n  def self.fall = require('flake') && FLAKE\nend\n",
            "ruby/lib/flake.rb": "FLAKE = '\u2603'\n",
        },
    ),
    "perl": Layer(
        files={
            "perl/lib/perl5/Snow.pm": "package Snow;\nuse Flake;\nsub fall { $Flake::flake }\n1;\n",
            "perl/Flake.pm": "package Flake;\nuse utf8;\nour $flake = '\u2603';\n1;\n",
        },
    ),
    "php": Layer(
        files={
            "php/autoload.php": "<?php\nrequire 'flakes/flake.php';\n",
            "php/flakes/flake.php": "<?php\nnamespace Snow;\nfunction fall() { return '\u2603'; }\n",
        },
    ),
    "lua": Layer(
        files={
            "lua/share/lua/5.4/snow.lua": "return { fall = function() return require('flake') end }\n",
            "lua/flake.lua": "return '\u2603'\n",
        },
    ),
    "r": Layer(
        files={
            "source/DESCRIPTION": _R,
            "source/NAMESPACE": "export(fall)\n",
            "source/R/snow.R": 'fall <- function() "\\u2603"\n',
        },
        source="library(snow)\nhandler <- function(event, context) fall()\n",
        make=_install_r,
    ),
    "elixir": Layer(
        files={"source.ex": 'defmodule Snow do\n  def fall, do: "\u2603"\nend\n'},
        source="defmodule Main do\n  def handler(_, _), do: Snow.fall()\nend\n",
        make=_compile_elixir,
    ),
}


@pytest.mark.parametrize("runtime", [name for name in CHOSEN if name in LAYERS], indirect=True)
async def test_a_language_finds_packages_of_a_layer_in_its_place(rig, runtime, registry, tmp_path):
    layer, place = LAYERS[runtime], tmp_path / "layer"
    for path, text in layer.files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    layer.make(registry, place)
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # bound into the sandbox, where its owner is nobody
    source = layer.source or TABLE[runtime].leans
    async with rig.started(source, layers_dir=place) as instance:
        outcome = await instance.invoke(call())
        assert (outcome.error, json.loads(outcome.output or b"null")) == (None, SNOWMAN)
    try:  # nor is it there for who has no layer
        async with rig.started(source) as instance:
            said = json.loads((await instance.invoke(call())).error)["message"]
    except HandlerLoadFailed as failed:
        said = str(failed)
    assert "snow" in said.lower()


_MODULE = '{"type": "module", "exports": "./index.js"}'
_MODULES = {  # of a layer; one imports its neighbour
    "snow/package.json": _MODULE,
    "snow/index.js": "import { flake } from 'flake';\nexport const snow = () => flake;\n",
    "flake/package.json": _MODULE,
    "flake/index.js": "export const flake = '\u2603';\n",
}
_IMPORTS = "import { snow } from 'snow';\nexport const handler = () => snow();\n"


@pytest.mark.parametrize("runtime", [name for name in CHOSEN if name in {"node", "deno", "bun"}], indirect=True)
async def test_import_finds_packages_of_a_layer_and_the_functions_own_first(rig, runtime, tmp_path):
    place = tmp_path / "layer"
    for path, text in _MODULES.items():
        file = place / "nodejs" / "node_modules" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    package = {"package.json": '{"type": "module"}'}
    async with rig.started(_IMPORTS, package=package, layers_dir=place) as instance:
        outcome = await instance.invoke(call())
        assert (outcome.error, json.loads(outcome.output or b"null")) == (None, SNOWMAN)
    package |= {"node_modules/snow/package.json": _MODULE}
    package |= {"node_modules/snow/index.js": "export const snow = () => 'own';\n"}
    async with rig.started(_IMPORTS, package=package, layers_dir=place) as instance:
        assert json.loads((await instance.invoke(call())).output) == "own"
    with pytest.raises(HandlerLoadFailed, match="snow"):
        async with rig.started(_IMPORTS, package={"package.json": '{"type": "module"}'}):
            pass
