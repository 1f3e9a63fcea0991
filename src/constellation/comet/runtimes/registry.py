"""Which runtimes this host has, and why it lacks the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.c.recipe import RUNTIME as C
from constellation.comet.runtimes.cpp.recipe import RUNTIME as CPP
from constellation.comet.runtimes.go.recipe import RUNTIME as GO
from constellation.comet.runtimes.java.recipe import RUNTIME as JAVA
from constellation.comet.runtimes.kotlin.recipe import RUNTIME as KOTLIN
from constellation.comet.runtimes.node.recipe import RUNTIME as NODE
from constellation.comet.runtimes.python.recipe import RUNTIME as PYTHON
from constellation.comet.runtimes.recipe import Interpreter, Runtime
from constellation.comet.runtimes.rust.recipe import RUNTIME as RUST
from constellation.comet.runtimes.scala.recipe import RUNTIME as SCALA
from constellation.comet.runtimes.zig.recipe import RUNTIME as ZIG

KNOWN: tuple[Runtime, ...] = (PYTHON, NODE, C, CPP, GO, RUST, JAVA, KOTLIN, SCALA, ZIG)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Installed:
    """A runtime with its interpreter on this host; the same only as itself, for it is a key of what starts count on."""

    runtime: Runtime
    interpreter: Interpreter


class Registry:
    """The runtimes of this host, looked for once."""

    def __init__(self, installed: Mapping[str, Installed], missing: Mapping[str, str]) -> None:
        self._installed, self._missing = dict(installed), dict(missing)

    @classmethod
    def find(cls, configured: Mapping[str, Path] | None = None) -> Registry:
        """Look for every known runtime; `configured` names interpreters by runtime id. Blocks: call it in a thread."""
        paths = configured or {}
        installed, missing = {}, {}
        for runtime in KNOWN:
            try:
                found = runtime.find(paths.get(runtime.id))
            except RuntimeUnavailable as error:
                missing[runtime.id] = error.reason
            else:
                installed[runtime.id] = Installed(runtime=runtime, interpreter=found)
        return cls(installed, missing)

    def get(self, runtime_id: str) -> Installed:
        """Return a runtime that can run here.

        Raises:
            RuntimeUnavailable: with the exact reason.
        """
        installed = self._installed.get(runtime_id)
        if installed is None:
            known = ", ".join(runtime.id for runtime in KNOWN)
            reason = self._missing.get(runtime_id, f"unknown; this platform knows {known}")
            raise RuntimeUnavailable(runtime_id, reason=reason)
        return installed

    @property
    def installed(self) -> Mapping[str, Installed]:
        return dict(self._installed)

    @property
    def missing(self) -> Mapping[str, str]:
        """Runtime id -> what is not there."""
        return dict(self._missing)
