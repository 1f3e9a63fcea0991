"""How C++ is built and run: as C is, with what is between its worker and a handler that throws."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.c.recipe import HERE as C_RECIPE
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import CPP


def _asked(found: tuple[Path, ...]) -> Tools:
    env = {
        "LANGUAGE": CPP.id,
        "COMPILER": "g++",
        "STANDARD": "gnu++20",
        "KINDS": "( -name *.cpp -o -name *.cc -o -name *.cxx )",
        "GLUE": "/run/recipe/glue.cpp",
        "WORKER_HANDLER": "ct__handle",
    }
    return Tools(version=said(CPP.id, str(found[0]), "-dumpfullversion"), path=(found[0].parent,), env=env)


TOOLCHAIN = Toolchain(
    runtime=CPP.id,
    recipe=C_RECIPE,
    programs=CPP.tools,
    asked=_asked,
)
RUNTIME = compiled(CPP, TOOLCHAIN, hello=Path(__file__).parent / "hello.cpp")
