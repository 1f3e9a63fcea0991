"""How Rust is built: by rustc, or by cargo where there is a Cargo.toml."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.builds.toolchain import Toolchain, Tools, program, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import RUST

_HERE = Path(__file__).parent


def _find() -> Tools:
    usual = (str(Path("~/.cargo/bin").expanduser()),)
    rustc = program(RUST.id, "rustc", beside=usual, package="the package rustc with cargo, or rustup")
    program(RUST.id, "cargo", beside=usual, package="the package cargo, or rustup")
    program(RUST.id, "cc", package="the package gcc with libc6-dev, which rustc links with")
    root = Path(said(RUST.id, str(rustc), "--print", "sysroot"))  # rustup's rustc is a script that finds another
    version = said(RUST.id, str(root / "bin" / "rustc"), "--version").split()[1]
    return Tools(version=version, path=(root / "bin",), prefixes=(root,))


TOOLCHAIN = Toolchain(runtime=RUST.id, recipe=_HERE, find=_find, is_compiled=True, registries=("cargo",))
RUNTIME = compiled(RUST, TOOLCHAIN, hello=_HERE / "hello.rs")
