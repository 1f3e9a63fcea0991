"""The languages a function may be written in: what every plane may know without asking comet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    id: str  # what a function's `runtime` says
    name: str
    extension: str  # of a source file, with its dot
    default_handler: str  # "module.function"
    is_compiled: bool = False  # its sources are built before they can run
    can_preload: bool = False  # instances are forked, and may be forked from where modules are imported already

    @property
    def entry_file(self) -> str:
        """Where a function of one file keeps it."""
        return self.default_handler.rpartition(".")[0] + self.extension


PYTHON = RuntimeInfo(id="python", name="Python", extension=".py", default_handler="main.handler", can_preload=True)
NODE = RuntimeInfo(id="node", name="Node.js", extension=".js", default_handler="main.handler")
C = RuntimeInfo(id="c", name="C", extension=".c", default_handler="main.handler", is_compiled=True)
CPP = RuntimeInfo(id="cpp", name="C++", extension=".cpp", default_handler="main.handler", is_compiled=True)
GO = RuntimeInfo(id="go", name="Go", extension=".go", default_handler="main.Handler", is_compiled=True)
RUST = RuntimeInfo(id="rust", name="Rust", extension=".rs", default_handler="main.handler", is_compiled=True)
JAVA = RuntimeInfo(id="java", name="Java", extension=".java", default_handler="Main.handler", is_compiled=True)
KOTLIN = RuntimeInfo(id="kotlin", name="Kotlin", extension=".kt", default_handler="main.handler", is_compiled=True)
SCALA = RuntimeInfo(id="scala", name="Scala", extension=".scala", default_handler="Main.handler", is_compiled=True)
ZIG = RuntimeInfo(id="zig", name="Zig", extension=".zig", default_handler="main.handler", is_compiled=True)

RUNTIMES: Mapping[str, RuntimeInfo] = MappingProxyType({info.id: info for info in (PYTHON, NODE)})
