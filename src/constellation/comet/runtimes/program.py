"""What runtimes have in common whose functions bring their own runtime: programs that speak the AWS Lambda Runtime API.

ct-guest serves the API in the sandbox and starts the program once it knows the function, so an instance can be made
ahead as for any interpreter.
"""

from __future__ import annotations

from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.recipe import SANDBOX_ENV, Contained, Interpreter, Runtime, Start
from constellation.native import libexec_path
from constellation.nova.domain.runtimes import RuntimeInfo


def program(info: RuntimeInfo, here: Path) -> Runtime:
    """Return the runtime; ct-guest knows by its id what it has to start."""

    def find(configured: Path | None) -> Interpreter:
        if configured is not None:
            raise RuntimeUnavailable(info.id, reason="it has no interpreter that could be configured")
        return Interpreter(path=libexec_path("ct-guest"), version=info.lambda_api)

    argv = ("--runtime-api", info.id)
    return Runtime(
        info=info,
        start=Start.EXEC,
        find=find,
        argv=lambda _: argv,
        prefixes=lambda _: (),
        contained=Contained(argv=argv, sources=()),
        hello=here / info.entry,
        env=SANDBOX_ENV,
    )
