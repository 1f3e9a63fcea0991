"""Which runtimes this host has, and why it lacks the others."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.runtimes.bun.recipe import RUNTIME as BUN
from constellation.comet.runtimes.c.recipe import RUNTIME as C
from constellation.comet.runtimes.cpp.recipe import RUNTIME as CPP
from constellation.comet.runtimes.custom.recipe import RUNTIME as CUSTOM
from constellation.comet.runtimes.deno.recipe import RUNTIME as DENO
from constellation.comet.runtimes.elixir.recipe import RUNTIME as ELIXIR
from constellation.comet.runtimes.go.recipe import RUNTIME as GO
from constellation.comet.runtimes.graalvm.recipe import RUNTIME as GRAALVM
from constellation.comet.runtimes.java.recipe import RUNTIME as JAVA
from constellation.comet.runtimes.julia.recipe import RUNTIME as JULIA
from constellation.comet.runtimes.kotlin.recipe import RUNTIME as KOTLIN
from constellation.comet.runtimes.lua.recipe import RUNTIME as LUA
from constellation.comet.runtimes.node.recipe import RUNTIME as NODE
from constellation.comet.runtimes.perl.recipe import RUNTIME as PERL
from constellation.comet.runtimes.php.recipe import RUNTIME as PHP
from constellation.comet.runtimes.provided.recipe import RUNTIME as PROVIDED
from constellation.comet.runtimes.python.recipe import RUNTIME as PYTHON
from constellation.comet.runtimes.r.recipe import RUNTIME as R
from constellation.comet.runtimes.recipe import Interpreter, Kit, Runtime
from constellation.comet.runtimes.ruby.recipe import RUNTIME as RUBY
from constellation.comet.runtimes.rust.recipe import RUNTIME as RUST
from constellation.comet.runtimes.scala.recipe import RUNTIME as SCALA
from constellation.comet.runtimes.swift.recipe import RUNTIME as SWIFT
from constellation.comet.runtimes.wasm.recipe import RUNTIME as WASM
from constellation.comet.runtimes.zig.recipe import RUNTIME as ZIG

KNOWN: tuple[Runtime, ...] = (
    PYTHON, NODE, DENO, BUN, RUBY, PHP, LUA, PERL, R, ELIXIR, C, CPP, GO, RUST, JAVA, KOTLIN, SCALA, ZIG, WASM, PROVIDED,
    CUSTOM, JULIA, SWIFT, GRAALVM,
)  # fmt: skip

_PROBES = 4  # chosen: at a time; most of each is waiting for a program to load


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Installed:
    """A runtime with its interpreter on this host; the same only as itself, for it is a key of what starts count on."""

    runtime: Runtime
    interpreter: Interpreter
    like: Installed | None = None  # one whose worker starts in the same way, and learns from its function which it is

    @property
    def template(self) -> Installed:
        """Return the one whose ready-made sandboxes are this one's too."""
        return self.like or self


def _found(runtime: Runtime, configured: Path | None) -> Interpreter | RuntimeUnavailable:
    try:
        return runtime.find(configured)
    except RuntimeUnavailable as error:
        return error


class Registry:
    """The runtimes of this host, looked for once."""

    def __init__(self, installed: Mapping[str, Installed], missing: Mapping[str, str]) -> None:
        self._installed, self._missing = dict(installed), dict(missing)

    @classmethod
    def find(cls, configured: Mapping[str, Path] | None = None) -> Registry:
        """Look for every known runtime; `configured` names interpreters by runtime id. Blocks: call it in a thread."""
        paths = configured or {}
        installed: dict[str, Installed] = {}
        missing: dict[str, str] = {}
        sharing: dict[tuple[Kit | None, Path], Installed] = {}
        # Each is a program that is asked for its version, and R takes longer than all others together.
        with ThreadPoolExecutor(max_workers=_PROBES) as threads:
            for runtime, found in zip(
                KNOWN, threads.map(lambda each: _found(each, paths.get(each.id)), KNOWN), strict=True
            ):
                if isinstance(found, Interpreter):
                    like = sharing.get((runtime.kit, found.path))
                    made = installed[runtime.id] = Installed(runtime=runtime, interpreter=found, like=like)
                    if runtime.kit is not None or runtime.is_program:
                        sharing.setdefault((runtime.kit, found.path), made)
                else:
                    missing[runtime.id] = found.reason
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
