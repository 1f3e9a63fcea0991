"""What a runtime is: how its interpreter is found and how a worker of it comes to life in a sandbox."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.toolchain import Toolchain
from constellation.comet.programs import Question
from constellation.native.sandbox import Bind, Entry, Link
from constellation.nova.config.interpreters import PROBE_S, InterpreterMissing, locate, refuse_incomplete
from constellation.nova.domain.runtimes import RuntimeInfo

WORKER_DIR = "/run/worker"  # where an executed worker finds its own source in the sandbox
RUNTIME_DIR = "/run/runtime"  # where an interpreter of one file lies
KIT_DIR = "/run/kit"  # where what was made of a kit lies, and while it is made
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")


class Start(Enum):
    FORK = "fork"  # from an interpreter of its own that waits with everything imported
    EXEC = "exec"  # by ct-zygote, below ct-guest


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """One found on this host."""

    path: Path
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(map(int, self.version.split(".")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contained:
    """How a worker starts in a container: its program is looked for in the image's PATH, its source is in WORKER_DIR."""

    argv: tuple[str, ...]
    sources: tuple[Path, ...]  # files and directories
    links: Mapping[str, str] = field(default_factory=dict, hash=False)  # those that lead into layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What workers need that each host makes itself, once: by kit.sh of the toolchain's recipe, in a sandbox like a build's."""

    name: str
    toolchain: Callable[[Interpreter], Toolchain]
    mark: Callable[[Interpreter], str]  # changes when the interpreter does, of which a kit is made; touches the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A language's recipe. Paths in `argv` are host paths for FORK and the sandbox's for EXEC."""

    info: RuntimeInfo
    start: Start
    find: Callable[[Path | None], Interpreter]  # a configured path or the default; raises RuntimeUnavailable
    argv: Callable[[Interpreter], tuple[str, ...]]
    prefixes: Callable[[Interpreter], tuple[Path, ...]]  # host directories bound read-only at their own paths
    binds: Callable[[Interpreter], tuple[Entry, ...]] = lambda _: ()  # and what else is in its root
    contained: Contained | None = None  # None: not in containers
    hello: Path | None  # the source of the example that a new platform is seeded with; None: no language
    env: Mapping[str, str] = field(default_factory=dict, hash=False)  # of the sandbox
    server_env: Mapping[str, str] = field(default_factory=dict, hash=False)  # of the fork server, read before any fork
    heap_flags: Callable[[int], tuple[str, ...]] = lambda _: ()  # of a memory limit in MiB; follow the program in argv
    kit: Kit | None = None  # read-only at KIT_DIR
    is_program: bool = False  # the function's code is the worker: of what waits for it, nothing is a language's
    is_address_space_bound: bool = False  # RLIMIT_AS can stand in for a memory cgroup
    out_of_memory_texts: tuple[bytes, ...] = ()  # on standard error, where the language itself gives up

    @property
    def id(self) -> str:
        return self.info.id


SANDBOX_ENV = MappingProxyType(
    {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",  # the last is of layers
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 (the sandbox's own)
    }
)


def executed(
    info: RuntimeInfo,
    here: Path,
    *,
    worker: str,
    flags: tuple[str, ...] = (),
    launcher: tuple[str, ...] = (),
    is_one_file: bool = False,
    version_flag: str = "--version",
    oldest: tuple[int, ...] = (),
    shares: tuple[str, ...] = (),
    host_binds: tuple[str, ...] = (),
    links: Mapping[str, str] | None = None,
    hello: str,
    env: Mapping[str, str] | None = None,
    heap_flags: Callable[[int], tuple[str, ...]] = lambda _: (),
    out_of_memory_texts: tuple[bytes, ...] = (),
) -> Runtime:
    """Return the recipe of a language whose interpreter is executed below ct-guest, with a worker as its script.

    Args:
        here: the recipe's directory; the worker finds it, and the neighbours in `shares`, below `WORKER_DIR`.
        flags: before the script.
        launcher: a program of the sandbox, and its arguments, that becomes the interpreter.
        is_one_file: the interpreter needs nothing beside itself, so it alone is bound, wherever it lies.
        oldest: the version that the worker needs.
        host_binds: directories of the host that it needs besides /usr, if they are there.
        links: symbolic links in the root: where they are, and where they lead, be it there or not.
    """

    def find(configured: Path | None) -> Interpreter:
        try:
            path = locate(info, configured)
        except InterpreterMissing as error:
            raise RuntimeUnavailable(info.id, reason=str(error)) from error
        if is_one_file and not _is_program(path):
            raise RuntimeUnavailable(
                info.id, reason=f"{path} starts the program and is not it: set runtimes.{info.id} to the program"
            )
        found = probed(info.id, path, version_flag=version_flag)
        if found.release < oldest:
            needed = ".".join(map(str, oldest))
            raise RuntimeUnavailable(info.id, reason=f"{path} is {found.version}; {needed} or newer is needed")
        try:
            question = Question(path, *info.check)
            if question.answer is None:
                refuse_incomplete(info, path)
                question.remember("complete")
        except (InterpreterMissing, OSError) as error:
            raise RuntimeUnavailable(info.id, reason=str(error)) from error
        return found

    def program(found: Interpreter) -> str:
        return f"{RUNTIME_DIR}/{info.programs[0]}" if is_one_file else str(found.path)

    places = (here, *(here.parent / name for name in shares))
    script = (*flags, f"{WORKER_DIR}/{here.name}/{worker}")

    def binds(found: Interpreter) -> tuple[Entry, ...]:
        sources: list[Entry] = [Bind(source=str(place), target=f"{WORKER_DIR}/{place.name}") for place in places]
        sources += [Link(to=to, target=target) for target, to in (links or {}).items()]
        sources += [Bind(source=place, target=place, is_optional=True) for place in host_binds]
        if is_one_file:
            sources.append(Bind(source=str(found.path), target=program(found)))
        return tuple(sources)

    return Runtime(
        info=info,
        start=Start.EXEC,
        find=find,
        argv=lambda found: (*launcher, program(found), *script),
        prefixes=lambda found: () if is_one_file else _installation(found.path),
        binds=binds,
        contained=Contained(argv=(*launcher, info.programs[0], *script), sources=places, links=links or {}),
        hello=here / hello,
        env={**SANDBOX_ENV, "PATH": f"{RUNTIME_DIR}:{SANDBOX_ENV['PATH']}", **(env or {})},
        heap_flags=heap_flags,
        out_of_memory_texts=out_of_memory_texts,
    )


def _installation(program: Path) -> tuple[Path, ...]:
    """Return what an interpreter outside /usr needs of the host: PREFIX of PREFIX/bin/program, else itself alone."""
    place = program.parent.parent if program.parent.name == "bin" else program
    return () if place.is_relative_to("/usr") or place == Path("/") else (place,)


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def probed(runtime_id: str, path: Path, *, version_flag: str = "--version") -> Interpreter:
    """Ask an interpreter for its version. Blocks; call it in a thread.

    Raises:
        RuntimeUnavailable: it cannot be run, fails, or names no version.
    """
    said = _run(runtime_id, path, version_flag)
    version = _VERSION.search(said)
    if version is None:
        raise RuntimeUnavailable(runtime_id, reason=f"{path} {version_flag} names no version: {said.strip()[-200:]}")
    return Interpreter(path=path, version=version[0])


def _run(runtime_id: str, path: Path, *args: str) -> str:
    try:
        question = Question(path, *args)
        if question.answer is not None:
            return question.answer
        done = subprocess.run(
            [str(path), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            env={},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeUnavailable(runtime_id, reason=f"{path} can not be run: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().partition("\n")[0][-200:]
        raise RuntimeUnavailable(runtime_id, reason=f"{path} {' '.join(args)} failed with {done.returncode}: {said}")
    return question.remember(done.stdout or done.stderr)
