"""How Scala is built: by its compiler from the Maven repository, for the worker of Java."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.java.machine import runtime, toolchain
from constellation.nova.domain.runtimes import SCALA

_HERE = Path(__file__).parent

TOOLCHAIN = toolchain(SCALA, _HERE, compiler="scala 3.3.6")
RUNTIME = runtime(SCALA, hello=_HERE / "hello.scala")
