"""How Java is built: by javac, together with the worker."""

from __future__ import annotations

from constellation.comet.runtimes.java.machine import HERE, runtime, toolchain
from constellation.nova.domain.runtimes import JAVA

TOOLCHAIN = toolchain(JAVA, HERE)
RUNTIME = runtime(JAVA, hello=HERE / "hello.java")
