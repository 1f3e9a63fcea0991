"""How C is built and run, and C++ with it: one compiler, one worker."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import C

HERE = Path(__file__).parent


def _asked(found: tuple[Path, ...]) -> Tools:
    env = {
        "LANGUAGE": C.id,
        "COMPILER": "gcc",
        "STANDARD": "gnu17",
        "KINDS": "-name *.c",
        "GLUE": "",
        "WORKER_HANDLER": "",
    }
    return Tools(version=said(C.id, str(found[0]), "-dumpfullversion"), path=(found[0].parent,), env=env)


TOOLCHAIN = Toolchain(runtime=C.id, recipe=HERE, programs=C.tools, asked=_asked)
RUNTIME = compiled(C, TOOLCHAIN, hello=HERE / "hello.c")
