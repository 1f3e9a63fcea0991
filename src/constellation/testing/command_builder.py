"""A builder that runs one real program, without a sandbox: what the parts around a build are tested with."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from constellation.comet.builds.contract import BuilderUnavailable, BuildFailed, BuildRequest

SCRIPT = "build.sh"  # of the sources: run by sh with SOURCES and OUTPUT set


@dataclass(slots=True, kw_only=True)
class CommandBuilder:
    """Runs `build.sh` of the sources; with `missing` it says what it lacks."""

    version: str = "sh 1"
    missing: str = ""
    requests: list[BuildRequest] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    async def find(self) -> None:
        """A shell is everywhere."""

    def toolchain(self, runtime: str) -> str:
        if self.missing:
            raise BuilderUnavailable(runtime, reason=self.missing)
        return self.version

    async def build(self, request: BuildRequest, *, log: Callable[[bytes], None]) -> None:
        self.requests.append(request)
        env = os.environ | {"SOURCES": str(request.sources), "OUTPUT": str(request.output)}
        command = ["/bin/sh", str(request.sources / SCRIPT)]
        async with await anyio.open_process(
            command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
        ) as process:
            self.pids.append(process.pid)
            try:
                assert process.stdout is not None
                async for piece in process.stdout:
                    log(piece)
                code = await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if code != 0:
            raise BuildFailed(f"{SCRIPT} ended with {code}")
