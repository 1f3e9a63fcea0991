"""What builds a runtime's functions: where its tools are on this host, and the script that runs them."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.programs import Question
from constellation.native.sandbox import Bind
from constellation.nova.config.interpreters import InterpreterMissing, locate_tool
from constellation.nova.domain.runtimes import Program

RECIPE_DIR = "/run/recipe"  # where the script finds itself and what lies beside it
_PROBE_S = 20.0  # chosen: a compiler tells its version within 0.1 s on an idle machine
_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Found on this host."""

    version: str
    path: tuple[Path, ...] = ()  # directories of programs, before the system's
    prefixes: tuple[Path, ...] = ()  # directories outside /usr, needed at their own paths
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def search(self) -> str:
        """Return what PATH is in a build."""
        return ":".join([*map(str, self.path), *_SYSTEM])


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """How sources of one runtime become what runs. `recipe` holds build.sh; it is bound read-only in the sandbox.

    Where it holds a seed.sh too, that is run once on a host, with the recipe as its sources: what it leaves is the cache
    that every build finds at /run/cache. No function's code has part in it.
    """

    runtime: str
    recipe: Path
    programs: tuple[Program, ...]
    asked: Callable[[tuple[Path, ...]], Tools]  # of the programs, where they were found; blocks
    shared: tuple[Path, str] | None = None  # a directory of another recipe, and where build.sh finds it
    registries: tuple[str, ...] = ()  # by the names of `Sources`

    @property
    def has_seed(self) -> bool:
        return (self.recipe / "seed.sh").is_file()

    def located(self) -> tuple[Path, ...]:
        """Return where its programs are; quick.

        Raises:
            BuilderUnavailable: one is missing.
        """
        try:
            return tuple(map(locate_tool, self.programs))
        except InterpreterMissing as error:
            raise BuilderUnavailable(self.runtime, reason=str(error)) from error

    def find(self) -> Tools:
        """Return what is on this host. Blocks: it runs the programs.

        Raises:
            BuilderUnavailable: one is missing, fails, or is too old.
        """
        return self.asked(self.located())

    def fingerprint(self) -> str:
        """Return what changes when the script, or the worker that is compiled in, does. Blocks."""
        digest = hashlib.sha256()
        for root in (self.recipe, *(() if self.shared is None else self.shared[:1])):
            for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")):
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
        return digest.hexdigest()[:12]


def said(runtime: str, *argv: str) -> str:
    """Return what a program prints, without the spaces around it.

    Raises:
        BuilderUnavailable: it can not be run, or fails.
    """
    try:
        question = Question(*argv)
        if question.answer is not None:
            return question.answer
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_S, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuilderUnavailable(runtime, reason=f"{argv[0]} can not be run: {error}") from error
    if done.returncode != 0:
        raise BuilderUnavailable(runtime, reason=f"{' '.join(argv)} failed: {done.stderr.strip()[-200:]}")
    return question.remember(done.stdout.strip())
