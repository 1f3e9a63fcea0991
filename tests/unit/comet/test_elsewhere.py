"""Languages that no package source has: what can be known of their recipes and workers where they are not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_julia
import tree_sitter_swift

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.registry import TOOLCHAINS
from constellation.comet.runtimes import graalvm, julia, swift
from constellation.comet.runtimes.registry import Registry
from constellation.nova.api.controlplane.runtimes import probe

ROOT = Path(__file__).parents[3]
JULIA, SWIFT, GRAALVM = (Path(package.__file__).parent for package in (julia, swift, graalvm))
LACKS = {"julia": "there is no julia in ", "swift": "there is no swiftc: ", "graalvm": "there is no native-image: "}
GRAMMARS = {".jl": tree_sitter_julia, ".swift": tree_sitter_swift}
SOURCES = sorted(
    path.relative_to(ROOT)
    for place in ("src/constellation", "examples", "tests/runtimes")
    for path in (ROOT / place).rglob("*")
    if path.suffix in GRAMMARS
)


@pytest.mark.parametrize("runtime", LACKS)
def test_whoever_lacks_it_is_told_the_same_by_nova_and_by_comet(runtime):
    missing = Registry.find().missing
    if runtime not in missing:
        pytest.skip("it is here")
    assert missing[runtime].startswith(LACKS[runtime])
    assert "install " in missing[runtime]
    assert probe({})[runtime].missing == missing[runtime]


def test_every_source_is_looked_at():
    assert {path.name for path in SOURCES} >= {"worker.jl", "worker_json.jl", "constellation.swift", "hello.swift"}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_source_is_of_its_language(path):
    language = tree_sitter.Language(GRAMMARS[path.suffix].language())
    tree = tree_sitter.Parser(language).parse((ROOT / path).read_bytes())
    wrong = list(_errors(tree.root_node))
    assert not wrong, wrong[0]


def _errors(node):
    if node.is_error or node.is_missing:
        line, column = node.start_point
        yield f"{line + 1}:{column + 1}: {node.text[:200]!r}"
    for child in node.children if node.has_error else ():
        yield from _errors(child)


def test_the_grammar_finds_what_is_wrong():
    language = tree_sitter.Language(tree_sitter_julia.language())
    assert tree_sitter.Parser(language).parse(b"function handler(\n").root_node.has_error


@pytest.mark.parametrize("recipe", [SWIFT, GRAALVM], ids=lambda path: path.name)
def test_its_build_is_a_shell_script(recipe):
    subprocess.run(["sh", "-n", recipe / "build.sh"], check=True)


def test_what_is_c_of_swifts_worker_compiles():
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{SWIFT.parent / 'c'}", f"-I{SWIFT}"]
    subprocess.run(["gcc", *flags, SWIFT / "shim.c"], check=True)


def test_what_an_image_is_told_of_java_is_what_java_has():
    if shutil.which("javap") is None:
        pytest.skip("there is no JDK")
    for told in json.loads((GRAALVM / "reflect.json").read_text()):
        said = subprocess.run(["javap", "-p", told["name"]], check=True, capture_output=True, text=True).stdout
        for method in told.get("methods", ()):
            assert f"{told['name']}({','.join(method['parameterTypes'])});" in said
        for field in told.get("fields", ()):
            assert f" {field['name']};" in said


@pytest.mark.parametrize(
    ("runtime", "program", "said", "reason"),
    [
        ("swift", "swiftc", "Swift version 5.8.1 (swift-5.8.1-RELEASE)", r"is version 5\.8; 5\.9 or newer is needed"),
        ("swift", "swiftc", "none", "names no version; 5.9 or newer is needed"),
        ("graalvm", "native-image", "GraalVM Runtime Environment", "is 'GraalVM Runtime Environment'; of Java 17"),
        ("graalvm", "native-image", "native-image 21.0.2 2024-01-16", "there is no javac in the GraalVM"),
    ],
)
def test_what_is_wrong_with_a_compiler_is_the_reason(tmp_path, runtime, program, said, reason):
    found = _program(tmp_path / "bin" / program, said)
    with pytest.raises(BuilderUnavailable, match=reason):
        TOOLCHAINS[runtime].asked((found, Path("/usr/bin/gcc")))


def test_a_compiler_outside_usr_is_taken_along_with_all_that_lies_beside_it(tmp_path):
    swiftc = _program(tmp_path / "usr" / "bin" / "swiftc", "Swift version 6.0.3 (swift-6.0.3-RELEASE)")
    tools = TOOLCHAINS["swift"].asked((swiftc, Path("/usr/bin/gcc")))
    assert (tools.version, tools.path, tools.prefixes) == ("6.0.3", (swiftc.parent,), (tmp_path / "usr",))
    image = _program(tmp_path / "lib" / "svm" / "bin" / "native-image", "native-image 21.0.2 2024-01-16")
    _program(tmp_path / "bin" / "javac", "")
    tools = TOOLCHAINS["graalvm"].asked((image, Path("/usr/bin/gcc")))
    assert (tools.version, tools.prefixes) == ("21.0.2", (tmp_path,))
    assert tools.path == (tmp_path / "bin", Path("/usr/bin"))


def _program(path, said):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path
