"""Which runtimes share what is made ready for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.namespace.plans import shape_of
from constellation.comet.namespace.slots import USUAL_LIMITS
from constellation.comet.runtimes import registry
from constellation.comet.runtimes.c.recipe import RUNTIME as C
from constellation.comet.runtimes.go.recipe import RUNTIME as GO
from constellation.comet.runtimes.java.recipe import RUNTIME as JAVA
from constellation.comet.runtimes.kotlin.recipe import RUNTIME as KOTLIN
from constellation.comet.runtimes.recipe import Interpreter
from constellation.comet.runtimes.registry import Registry
from constellation.comet.runtimes.scala.recipe import RUNTIME as SCALA


@pytest.fixture
def jdk(tmp_path):
    """Return what makes a JDK that nobody runs."""

    def make(name, *programs):
        (tmp_path / name / "bin").mkdir(parents=True)
        for program in programs:
            (tmp_path / name / "bin" / program).touch(mode=0o755)
        return tmp_path / name / "bin" / "java"

    return make


def test_languages_of_one_virtual_machine_share_its_ready_sandboxes(jdk, monkeypatch):
    monkeypatch.setattr(registry, "KNOWN", (JAVA, KOTLIN, SCALA))
    one, other = jdk("one", "java", "javac"), jdk("other", "java", "javac")
    found = Registry.find({"java": one, "kotlin": one, "scala": other}).installed
    java, kotlin, scala = (shape_of(found[name], USUAL_LIMITS) for name in ("java", "kotlin", "scala"))
    assert java == kotlin != scala
    assert found["kotlin"].template is found["java"]
    assert found["scala"].template is found["scala"]


def test_compiled_programs_share_sandboxes_that_wait_for_any(monkeypatch):
    def found(runtime):
        return replace(runtime, find=lambda _: Interpreter(path=Path("/code/bootstrap"), version=""))

    monkeypatch.setattr(registry, "KNOWN", (found(C), found(GO)))
    installed = Registry.find().installed
    usual = shape_of(installed["c"], USUAL_LIMITS)
    assert usual == shape_of(installed["go"], replace(USUAL_LIMITS, memory_mb=512, processes=9))


def test_a_machine_without_a_compiler_of_its_worker_says_so(jdk):
    with pytest.raises(RuntimeUnavailable, match="there is no javac beside it"):
        JAVA.find(jdk("jre", "java"))
    assert JAVA.find(Path(jdk("jdk", "java", "javac"))).path.name == "java"
