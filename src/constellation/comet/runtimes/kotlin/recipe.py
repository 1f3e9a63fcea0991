"""How Kotlin is built: by its compiler from the Maven repository, for the worker of Java."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.runtimes.java.machine import runtime, toolchain
from constellation.nova.domain.runtimes import KOTLIN

_HERE = Path(__file__).parent

TOOLCHAIN = toolchain(KOTLIN, _HERE, compiler="kotlin 2.1.21")
RUNTIME = runtime(KOTLIN, hello=_HERE / "hello.kt")
