"""How Go is built: by the go command, with the worker as a module of its own."""

from __future__ import annotations

import re
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools, program, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import GO

_HERE = Path(__file__).parent
_USUAL = ("/usr/local/go/bin", "/usr/lib/go/bin")
_OLDEST = (1, 21)  # the worker uses log/slog and min


def _find() -> Tools:
    go = program(GO.id, "go", beside=_USUAL, package="Go 1.21 or newer, at /usr/local/go say").resolve()
    version = said(GO.id, str(go), "env", "GOVERSION").removeprefix("go")
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        raise BuilderUnavailable(GO.id, reason=f"{go} is version {version}; 1.21 or newer is needed")
    root = Path(said(GO.id, str(go), "env", "GOROOT"))
    return Tools(
        version=version, path=(root / "bin",), prefixes=(root,), env={"GO_LANGUAGE": found[0], "GOROOT": str(root)}
    )


TOOLCHAIN = Toolchain(runtime=GO.id, recipe=_HERE, find=_find, is_compiled=True, registries=("go",))
RUNTIME = compiled(GO, TOOLCHAIN, hello=_HERE / "hello.go")
