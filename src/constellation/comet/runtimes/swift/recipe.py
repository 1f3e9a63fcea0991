"""How Swift is built: by swiftc, with Swift's library in the program, and the worker of C."""

from __future__ import annotations

import re
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.c.recipe import HERE as C_RECIPE
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import SWIFT

_HERE = Path(__file__).parent
_OLDEST = (5, 9)


def _asked(found: tuple[Path, ...]) -> Tools:
    swiftc = found[0].resolve()
    version = re.search(r"Swift version (\d+)\.(\d+)\S*", said(SWIFT.id, str(found[0]), "--version"))
    if version is None or (int(version[1]), int(version[2])) < _OLDEST:
        told = "names no version" if version is None else f"is version {version[1]}.{version[2]}"
        raise BuilderUnavailable(SWIFT.id, reason=f"{swiftc} {told}; 5.9 or newer is needed")
    root = swiftc.parents[1]
    return Tools(
        version=version[0].split()[-1],
        path=(found[0].parent,),
        prefixes=() if root.is_relative_to("/usr") else (root,),
    )


TOOLCHAIN = Toolchain(runtime=SWIFT.id, recipe=_HERE, programs=SWIFT.tools, asked=_asked, shared=(C_RECIPE, "/run/c"))
RUNTIME = compiled(SWIFT, TOOLCHAIN, hello=_HERE / "hello.swift")
