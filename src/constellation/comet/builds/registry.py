"""What builds which runtime."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from constellation.comet.builds.toolchain import Toolchain
from constellation.comet.runtimes.c.recipe import TOOLCHAIN as C
from constellation.comet.runtimes.cpp.recipe import TOOLCHAIN as CPP
from constellation.comet.runtimes.go.recipe import TOOLCHAIN as GO
from constellation.comet.runtimes.graalvm.recipe import TOOLCHAIN as GRAALVM
from constellation.comet.runtimes.java.recipe import TOOLCHAIN as JAVA
from constellation.comet.runtimes.kotlin.recipe import TOOLCHAIN as KOTLIN
from constellation.comet.runtimes.node.toolchain import TOOLCHAIN as NODE
from constellation.comet.runtimes.python.toolchain import TOOLCHAIN as PYTHON
from constellation.comet.runtimes.rust.recipe import TOOLCHAIN as RUST
from constellation.comet.runtimes.scala.recipe import TOOLCHAIN as SCALA
from constellation.comet.runtimes.swift.recipe import TOOLCHAIN as SWIFT
from constellation.comet.runtimes.wasm.recipe import TOOLCHAIN as WASM
from constellation.comet.runtimes.zig.recipe import TOOLCHAIN as ZIG

_ALL = (C, CPP, GO, RUST, JAVA, KOTLIN, SCALA, ZIG, WASM, PYTHON, NODE, SWIFT, GRAALVM)

TOOLCHAINS: Mapping[str, Toolchain] = MappingProxyType({toolchain.runtime: toolchain for toolchain in _ALL})
