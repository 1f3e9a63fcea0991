"""How Java is built, by javac, and run: a virtual machine a sandbox, with the class data that the JDK itself shares."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Program, Toolchain, Tools, said
from constellation.comet.runtimes.recipe import Interpreter, Runtime, Start
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import JAVA

_HERE = Path(__file__).parent
_JAVAC = Program(name="javac", package="the package default-jdk-headless (17 or newer)")
_OLDEST = 17  # records, and what --add-opens names


def _configuration() -> tuple[Bind, ...]:
    """Return what Debian keeps of a JDK in /etc."""
    found = sorted(Path("/etc").glob("java-*-openjdk"))
    return tuple(Bind(source=str(path), target=str(path), is_optional=True) for path in found)


def _root_of(javac: Path) -> Path:
    return javac.resolve().parents[1]


def _asked(found: tuple[Path, ...]) -> Tools:
    version = said(JAVA.id, str(found[0]), "-version").split()[-1]
    if int(version.partition(".")[0]) < _OLDEST:
        raise BuilderUnavailable(JAVA.id, reason=f"{found[0]} is version {version}; {_OLDEST} or newer is needed")
    root = _root_of(found[0])
    return Tools(
        version=version,
        path=(root / "bin",),
        prefixes=(root,),
        binds=_configuration(),
        env={"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -XX:-UsePerfData"},
    )


TOOLCHAIN = Toolchain(runtime=JAVA.id, recipe=_HERE, programs=(_JAVAC,), asked=_asked, is_compiled=True)


def _find(configured: Path | None) -> Interpreter:
    if configured is not None:
        return Interpreter(path=configured, version="")
    try:
        (javac,) = TOOLCHAIN.located()
    except BuilderUnavailable as error:
        raise RuntimeUnavailable(JAVA.id, reason=error.reason) from error
    return Interpreter(path=_root_of(javac) / "bin" / "java", version="")


# Chosen: what the virtual machine needs beside its heap (code, class data, stacks) is about 40 MiB
_HEAP_SHARE = 0.6

RUNTIME = Runtime(
    info=JAVA,
    start=Start.EXEC,
    find=_find,
    argv=lambda found: (
        str(found.path),
        # What makes a start quick: one thread that collects, one compiler, no file of counters
        *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Xss512k"),
        "-Dfile.encoding=UTF-8",
        # The channel is a descriptor, and the environment of a function is set when it has come
        *("--add-opens", "java.base/java.io=ALL-UNNAMED", "--add-opens", "java.base/java.util=ALL-UNNAMED"),
        *("-cp", "/code/function.jar:/code/lib/*", "constellation.Worker"),
    ),
    prefixes=lambda found: (found.path.parents[1],),
    binds=lambda _: _configuration(),
    hello=_HERE / "hello.java",
    env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"},  # noqa: S108 (the sandbox's own)
    heap_flags=lambda memory_mb: (f"-Xmx{max(16, int(memory_mb * _HEAP_SHARE))}m",),
    out_of_memory_texts=(b"java.lang.OutOfMemoryError",),
    has_templates=False,
)
