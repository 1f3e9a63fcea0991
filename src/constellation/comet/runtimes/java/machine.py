"""The Java virtual machine: where a JDK is on this host, and how a function's program runs on it."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.recipe import SANDBOX_ENV, Interpreter, Runtime, Start
from constellation.native.sandbox import Bind
from constellation.nova.config.interpreters import InterpreterMissing, locate_tool
from constellation.nova.domain.runtimes import RuntimeInfo

HERE = Path(__file__).parent
_OLDEST = 17  # records, and what --add-opens names
# What makes a start quick: one thread that collects, one compiler, no file of counters, shared class data
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
# Chosen: what the virtual machine needs beside its heap (code, class data, stacks) is about 40 MiB
_HEAP_SHARE = 0.6


def _configuration() -> tuple[Bind, ...]:
    """Return what Debian keeps of a JDK in /etc."""
    found = sorted(Path("/etc").glob("java-*-openjdk"))
    return tuple(Bind(source=str(path), target=str(path), is_optional=True) for path in found)


def _root_of(javac: Path) -> Path:
    return javac.resolve().parents[1]


def _tools(runtime: str, javac: Path, compiler: str) -> Tools:
    version = said(runtime, str(javac), "-version").split()[-1]
    if int(version.partition(".")[0]) < _OLDEST:
        raise BuilderUnavailable(runtime, reason=f"{javac} is version {version}; {_OLDEST} or newer is needed")
    root = _root_of(javac)
    return Tools(
        version=f"{compiler} on {version}" if compiler else version,
        path=(root / "bin",),
        prefixes=(root,),
        binds=_configuration(),
        env={"JAVA_FLAGS": " ".join(_QUICK), "JAVAC_FLAGS": " ".join(f"-J{flag}" for flag in _QUICK)},
    )


def toolchain(info: RuntimeInfo, recipe: Path, *, compiler: str = "") -> Toolchain:
    """Return what builds a language of this machine. `compiler` is the name and version of its own, from the recipe's seed."""
    return Toolchain(
        runtime=info.id,
        recipe=recipe,
        programs=info.tools,
        asked=lambda found: _tools(info.id, found[0], compiler),
        shared=(HERE, "/run/java"),
        registries=("maven",),
    )


def runtime(info: RuntimeInfo, *, hello: Path) -> Runtime:
    """Return what runs the archive /code/function.jar and those in /code/lib: a virtual machine a sandbox."""

    def find(configured: Path | None) -> Interpreter:
        if configured is not None:
            return Interpreter(path=configured, version="")
        try:
            (javac,) = map(locate_tool, info.tools)
        except InterpreterMissing as error:
            raise RuntimeUnavailable(info.id, reason=str(error)) from error
        return Interpreter(path=_root_of(javac) / "bin" / "java", version="")

    return Runtime(
        info=info,
        start=Start.EXEC,
        find=find,
        argv=lambda found: (
            str(found.path),
            *_QUICK,
            *("-Xss512k", "-Dfile.encoding=UTF-8"),
            # The channel is a descriptor, and the environment of a function is set when it has come
            *("--add-opens", "java.base/java.io=ALL-UNNAMED", "--add-opens", "java.base/java.util=ALL-UNNAMED"),
            *("-cp", "/code/function.jar:/code/lib/*", "constellation.Worker"),
        ),
        prefixes=lambda found: (found.path.parents[1],),
        binds=lambda _: _configuration(),
        hello=hello,
        env=SANDBOX_ENV,
        heap_flags=lambda memory_mb: (f"-Xmx{max(16, int(memory_mb * _HEAP_SHARE))}m",),
        out_of_memory_texts=(b"java.lang.OutOfMemoryError",),
        has_templates=False,
    )
