"""Finding an interpreter: what is wrong with one is said, not met by the first call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.recipe import Interpreter, executed
from constellation.comet.runtimes.registry import KNOWN
from constellation.nova.api.controlplane.runtimes import probe
from constellation.nova.domain.runtimes import RUNTIMES, RuntimeInfo

ODD = RuntimeInfo(id="odd", name="Odd", extension=".odd", programs=("odd",), source="the Debian package odd")
NEEDS = replace(ODD, check=("-e", "x"))


@pytest.fixture
def program(tmp_path):
    def written(text: str) -> Path:
        path = tmp_path / "opt" / "bin" / "odd"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return written


def recipe(info=ODD, **facts):
    return executed(info, Path(__file__).parent, worker="worker.odd", hello="hello.odd", **facts)


def test_every_language_has_a_recipe_with_a_hello():
    assert {runtime.id for runtime in KNOWN} == set(RUNTIMES)
    text = {"wasm": ".wat"}  # of modules, whose extension is of their binary form
    for runtime in KNOWN:
        assert runtime.hello.is_file()
        assert runtime.hello.suffix == text.get(runtime.id, runtime.info.extension)


def test_the_version_is_read_from_whatever_is_said_around_it(program):
    found = recipe(oldest=(3, 1)).find(program("echo 'This is odd 3, version 1 (v3.1.20-p2)'"))
    assert (found.version, found.release) == ("3.1.20", (3, 1, 20))


def test_a_program_is_asked_again_only_when_it_is_another(program, tmp_path):
    asked = tmp_path / "asked"
    path = program(f"echo x >> {asked}; echo 1.0")
    found = [recipe().find(path).version for _ in range(3)]
    path = program(f"echo x >> {asked}; echo 1.0.7")
    assert (found, recipe().find(path).version, asked.read_text()) == (["1.0"] * 3, "1.0.7", "x\nx\n")


@pytest.mark.parametrize(
    ("text", "facts", "reason"),
    [
        ("echo odd 3.0.9", {"oldest": (3, 1)}, r"is 3\.0\.9; 3\.1 or newer is needed"),
        ("echo none", {}, "names no version: none"),
        ("echo broken >&2; exit 3", {}, "failed with 3: broken"),
        ("[ $# = 1 ] || exit 1; echo 1.0", {"info": NEEDS}, "failed with 1: ; install the Debian package odd"),
        ("echo 1.0", {"is_one_file": True}, "is not it: set runtimes.odd to the program"),
    ],
)
def test_what_is_wrong_with_an_interpreter_is_the_reason(program, text, facts, reason):
    with pytest.raises(RuntimeUnavailable, match=reason):
        recipe(**facts).find(program(text))


@pytest.mark.parametrize(
    ("runtime", "lacks"), [("r", "jsonlite"), ("lua", "socket"), ("perl", "HiRes"), ("ruby", "json")]
)
def test_who_lacks_a_library_is_told_the_same_by_nova_and_by_comet(program, runtime, lacks):
    path = program(f"case \"$*\" in *{lacks}*) echo 'no {lacks} here' >&2; exit 1;; esac; echo 9.9.9")
    found = probe({runtime: path})[runtime].missing
    assert f"no {lacks} here" in found
    assert RUNTIMES[runtime].source in found
    with pytest.raises(RuntimeUnavailable) as refused:
        next(each for each in KNOWN if each.id == runtime).find(path)
    assert refused.value.reason == found
    whole = program("echo 9.9.9")
    assert probe({runtime: whole})[runtime].missing == ""


@pytest.mark.parametrize(
    ("path", "bound"),
    [
        ("/usr/bin/odd", ()),
        ("/opt/odd/bin/odd", (Path("/opt/odd"),)),
        ("/home/me/odd", (Path("/home/me/odd"),)),
        ("/bin/odd", ()),
    ],
)
def test_an_installation_outside_usr_is_bound_and_no_more(path, bound):
    assert recipe().prefixes(Interpreter(path=Path(path), version="1.0")) == bound
