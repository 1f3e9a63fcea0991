"""The Java virtual machine: where a JDK is on this host, and how a function's program runs on it."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.recipe import KIT_DIR, SANDBOX_ENV, Interpreter, Kit, Runtime, Start
from constellation.native.sandbox import Bind
from constellation.nova.config.interpreters import InterpreterMissing, locate_tool
from constellation.nova.domain.runtimes import JAVA, RuntimeInfo

HERE = Path(__file__).parent
_OLDEST = 17  # records, and what worker.mf opens
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


def _kit_toolchain(found: Interpreter) -> Toolchain:
    javac = found.path.parent / "javac"
    return Toolchain(runtime=JAVA.id, recipe=HERE, programs=(), asked=lambda _: _tools(JAVA.id, javac, ""))


def _mark(found: Interpreter) -> str:
    """Return what another build of the machine has another of: it maps no classes that a different one has laid out."""
    status = (found.path.parents[1] / "lib" / "server" / "libjvm.so").stat()
    return f"{status.st_size:x}.{status.st_mtime_ns:x}"


# The classes of the worker, which all languages of the machine share
_KIT = Kit(name="jvm", toolchain=_kit_toolchain, mark=_mark)


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
    """Return what runs the archive /code/function.jar and those in /code/lib and layers: a virtual machine a sandbox."""

    def find(configured: Path | None) -> Interpreter:
        if configured is not None:
            if not (configured.resolve().parent / "javac").is_file():
                raise RuntimeUnavailable(info.id, reason=f"{configured} is no JDK's: there is no javac beside it")
            return Interpreter(path=configured.resolve(), version="")
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
            *(f"-XX:SharedArchiveFile={KIT_DIR}/worker.jsa", "-jar", f"{KIT_DIR}/worker.jar"),
        ),
        prefixes=lambda found: (found.path.parents[1],),
        binds=lambda _: _configuration(),
        hello=hello,
        env=SANDBOX_ENV,
        heap_flags=lambda memory_mb: (f"-Xmx{max(16, int(memory_mb * _HEAP_SHARE))}m",),
        out_of_memory_texts=(b"java.lang.OutOfMemoryError",),
        kit=_KIT,
    )
