"""What runtimes have in common whose functions are programs: each speaks the guest protocol itself."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain
from constellation.comet.runtimes.recipe import SANDBOX_ENV, Interpreter, Runtime, Start
from constellation.nova.domain.runtimes import RuntimeInfo

PROGRAM = "/code/bootstrap"  # what every recipe builds


def compiled(info: RuntimeInfo, toolchain: Toolchain, *, hello: Path) -> Runtime:
    """Return the runtime: the function is the worker, and a sandbox without one waits for it."""

    def find(configured: Path | None) -> Interpreter:
        if configured is not None:
            raise RuntimeUnavailable(info.id, reason="it has no interpreter that could be configured")
        try:
            toolchain.located()
        except BuilderUnavailable as error:
            raise RuntimeUnavailable(info.id, reason=error.reason) from error
        return Interpreter(path=Path(PROGRAM), version="")  # of the compiler, which need not run for this

    return Runtime(
        info=info,
        start=Start.EXEC,
        find=find,
        argv=lambda _: (PROGRAM,),
        prefixes=lambda _: (),
        hello=hello,
        env=SANDBOX_ENV,
        is_program=True,
    )
