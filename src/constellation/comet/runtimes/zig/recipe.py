"""How Zig is built: by the compiler in the package ziglang, with the worker of C."""

from __future__ import annotations

import platform
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.comet.runtimes.c.recipe import HERE as C_RECIPE
from constellation.comet.runtimes.compiled import compiled
from constellation.comet.runtimes.python.toolchain import INTERPRETER, pip_tools
from constellation.nova.domain.runtimes import ZIG

_HERE = Path(__file__).parent
_MACHINE = "x86_64"  # the package whose hash requirements.txt has


def _asked(_found: tuple[Path, ...]) -> Tools:
    if platform.machine() != _MACHINE:
        raise BuilderUnavailable(
            ZIG.id, reason=f"its compiler is pinned for {_MACHINE}, and this is {platform.machine()}"
        )
    return pip_tools(ZIG.id, version="0.14.1")


TOOLCHAIN = Toolchain(
    runtime=ZIG.id,
    recipe=_HERE,
    programs=(INTERPRETER,),
    asked=_asked,
    shared=(C_RECIPE, "/run/c"),
    registries=("pip",),
)
RUNTIME = compiled(ZIG, TOOLCHAIN, hello=_HERE / "hello.zig")
