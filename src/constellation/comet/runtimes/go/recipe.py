"""How Go is built: by the go command, with the worker as a module of its own."""

from __future__ import annotations

import re
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.compiled import compiled
from constellation.nova.domain.runtimes import GO

_HERE = Path(__file__).parent
_OLDEST = (1, 21)  # the worker uses log/slog and min


def _asked(found: tuple[Path, ...]) -> Tools:
    go = found[0].resolve()
    version = said(GO.id, str(go), "env", "GOVERSION").removeprefix("go")
    language = re.match(r"(\d+)\.(\d+)", version)
    if language is None or (int(language[1]), int(language[2])) < _OLDEST:
        raise BuilderUnavailable(GO.id, reason=f"{go} is version {version}; 1.21 or newer is needed")
    root = Path(said(GO.id, str(go), "env", "GOROOT"))
    return Tools(
        version=version, path=(root / "bin",), prefixes=(root,), env={"GO_LANGUAGE": language[0], "GOROOT": str(root)}
    )


TOOLCHAIN = Toolchain(runtime=GO.id, recipe=_HERE, programs=GO.tools, asked=_asked, registries=("go",))
RUNTIME = compiled(GO, TOOLCHAIN, hello=_HERE / "hello.go")
