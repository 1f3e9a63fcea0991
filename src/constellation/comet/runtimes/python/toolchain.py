"""How the dependencies of Python functions are installed: by pip, for the interpreter that functions run on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Program, Toolchain, Tools
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import PYTHON

_INTERPRETER = Program(
    name=f"python{sys.version_info.major}.{sys.version_info.minor}",
    package="the Python that this platform runs on",
    beside=(str(Path(sys.base_prefix, "bin")),),
)


def _asked(_found: tuple[Path, ...]) -> Tools:
    pip = importlib.util.find_spec("pip")
    places = list((pip.submodule_search_locations if pip is not None else None) or ())
    if not places:
        raise BuilderUnavailable(PYTHON.id, reason="the platform's Python has no pip; run python -m ensurepip")
    return Tools(
        version=f"{platform.python_version()} pip {importlib.metadata.version('pip')}",
        path=(Path(sys.base_prefix, "bin"),),
        prefixes=(Path(sys.base_prefix),),
        binds=(Bind(source=places[0], target="/run/tools/pip"),),
    )


TOOLCHAIN = Toolchain(
    runtime=PYTHON.id,
    recipe=Path(__file__).parent / "install",
    programs=(_INTERPRETER,),
    asked=_asked,
    is_compiled=False,
    asking=frozenset({"requirements.txt"}),
    registries=("pip",),
)
