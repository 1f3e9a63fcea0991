"""What a runtime is: how its interpreter is found and how a worker of it comes to life in a sandbox."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import RuntimeInfo

VERSION_PROBE_S = 10.0  # chosen: an interpreter prints its version within 50 ms on an idle machine
WORKER_DIR = "/run/worker"  # where an executed worker finds its own source in the sandbox


class Start(Enum):
    FORK = "fork"  # from an interpreter of its own that waits with everything imported
    EXEC = "exec"  # by ct-zygote, below ct-guest


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """One found on this host."""

    path: Path
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A language's recipe. Paths in `argv` are host paths for FORK and the sandbox's for EXEC."""

    info: RuntimeInfo
    start: Start
    find: Callable[[Path | None], Interpreter]  # a configured path or the default; raises RuntimeUnavailable
    argv: Callable[[Interpreter], tuple[str, ...]]
    prefixes: Callable[[Interpreter], tuple[Path, ...]]  # host directories bound read-only at their own paths
    binds: Callable[[Interpreter], tuple[Bind, ...]] = lambda _: ()
    hello: Path  # the source of the example that a new platform is seeded with
    env: Mapping[str, str] = field(default_factory=dict, hash=False)  # of the sandbox
    server_env: Mapping[str, str] = field(default_factory=dict, hash=False)  # of the fork server, read before any fork
    heap_flags: Callable[[int], tuple[str, ...]] = lambda _: ()  # of a memory limit in MiB; follow the program in argv
    has_templates: bool = True  # a worker can wait for its function; False: the function's code is the worker
    is_address_space_bound: bool = False  # RLIMIT_AS can stand in for a memory cgroup
    out_of_memory_texts: tuple[bytes, ...] = ()  # on standard error, where the language itself gives up

    @property
    def id(self) -> str:
        return self.info.id


def probed(runtime_id: str, path: Path) -> Interpreter:
    """Ask an interpreter for its version. Blocks; call it in a thread.

    Raises:
        RuntimeUnavailable: it cannot be run, or fails.
    """
    try:
        done = subprocess.run(
            [str(path), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_PROBE_S,
            env={},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeUnavailable(runtime_id, reason=f"{path} can not be run: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-200:]
        raise RuntimeUnavailable(runtime_id, reason=f"{path} --version failed with {done.returncode}: {said}")
    return Interpreter(path=path, version=done.stdout.strip().split()[-1].lstrip("v"))
