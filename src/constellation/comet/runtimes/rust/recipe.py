"""How Rust is built: by rustc, or by cargo where there is a Cargo.toml."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.builds.toolchain import Program, Toolchain, Tools, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import RUST

_HERE = Path(__file__).parent
_USUAL = (str(Path("~/.cargo/bin").expanduser()),)
_PROGRAMS = (
    Program(name="rustc", package="the package rustc with cargo, or rustup", beside=_USUAL),
    Program(name="cargo", package="the package cargo, or rustup", beside=_USUAL),
    Program(name="cc", package="the package gcc with libc6-dev, which rustc links with"),
)


def _asked(found: tuple[Path, ...]) -> Tools:
    root = Path(said(RUST.id, str(found[0]), "--print", "sysroot"))  # rustup's rustc is one that finds another
    version = said(RUST.id, str(root / "bin" / "rustc"), "--version").split()[1]
    return Tools(version=version, path=(root / "bin",), prefixes=(root,))


TOOLCHAIN = Toolchain(
    runtime=RUST.id, recipe=_HERE, programs=_PROGRAMS, asked=_asked, is_compiled=True, registries=("cargo",)
)
RUNTIME = compiled(RUST, TOOLCHAIN, hello=_HERE / "hello.rs")
