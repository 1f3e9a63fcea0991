"""How C is built and run, and C++ with it: one compiler, one worker."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.builds.toolchain import Toolchain, Tools, program, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import C

HERE = Path(__file__).parent


def gcc(runtime: str, name: str, package: str, env: dict[str, str]) -> Tools:
    """Find a compiler of GCC's; raises BuilderUnavailable."""
    found = program(runtime, name, package=package)
    return Tools(version=said(runtime, str(found), "-dumpfullversion"), path=(found.parent,), env=env)


TOOLCHAIN = Toolchain(
    runtime=C.id,
    recipe=HERE,
    find=lambda: gcc(
        C.id,
        "gcc",
        "the package gcc with libc6-dev",
        {
            "LANGUAGE": C.id,
            "COMPILER": "gcc",
            "STANDARD": "gnu17",
            "KINDS": "-name *.c",
            "GLUE": "",
            "WORKER_HANDLER": "handler",
        },
    ),
    is_compiled=True,
)
RUNTIME = compiled(C, TOOLCHAIN, hello=HERE / "hello.c")
