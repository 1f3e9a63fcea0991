"""How Java becomes a program of its own: javac and the worker of Java, then GraalVM's native-image."""

from __future__ import annotations

import re
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools, said
from constellation.comet.runtimes.compiled import compiled
from constellation.comet.runtimes.java.machine import HERE as JAVA_RECIPE
from constellation.nova.domain.runtimes import GRAALVM

_HERE = Path(__file__).parent
_OLDEST = 17


def _asked(found: tuple[Path, ...]) -> Tools:
    native_image = found[0].resolve()
    told = said(GRAALVM.id, str(native_image), "--version").partition("\n")[0]
    version = re.search(r"\b(\d+)(?:\.\d+)*", told)
    if version is None or int(version[1]) < _OLDEST:
        raise BuilderUnavailable(GRAALVM.id, reason=f"{native_image} is {told!r}; of Java {_OLDEST} or newer is needed")
    # ROOT/bin/native-image, or a link from there to ROOT/lib/svm/bin/native-image
    places = (native_image.parents[up] for up in (1, 3) if up < len(native_image.parents) - 1)
    root = next((place for place in places if (place / "bin" / "javac").is_file()), None)
    if root is None:
        raise BuilderUnavailable(GRAALVM.id, reason=f"there is no javac in the GraalVM that {native_image} is of")
    return Tools(version=version[0], path=(root / "bin", found[1].parent), prefixes=(root,))


TOOLCHAIN = Toolchain(
    runtime=GRAALVM.id,
    recipe=_HERE,
    programs=GRAALVM.tools,
    asked=_asked,
    shared=(JAVA_RECIPE, "/run/java"),
    registries=("maven",),
)
RUNTIME = compiled(GRAALVM, TOOLCHAIN, hello=_HERE / "hello.java")
