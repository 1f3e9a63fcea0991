"""How Rust is built: by rustc, or by cargo where there is a Cargo.toml."""

from __future__ import annotations

from pathlib import Path

from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import RUST

_HERE = Path(__file__).parent


def _asked(found: tuple[Path, ...]) -> Tools:
    root = Path(said(RUST.id, str(found[0]), "--print", "sysroot"))  # rustup's rustc is one that finds another
    version = said(RUST.id, str(root / "bin" / "rustc"), "--version").split()[1]
    return Tools(version=version, path=(root / "bin",), prefixes=(root,))


TOOLCHAIN = Toolchain(runtime=RUST.id, recipe=_HERE, programs=RUST.tools, asked=_asked, registries=("cargo",))
RUNTIME = compiled(RUST, TOOLCHAIN, hello=_HERE / "hello.rs")
