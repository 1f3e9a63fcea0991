"""How the dependencies of Python functions are installed: by pip, for the interpreter that functions run on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import replace
from pathlib import Path

from constellation.comet.builds.contract import BuilderUnavailable
from constellation.comet.builds.toolchain import Toolchain, Tools
from constellation.native.sandbox import Bind
from constellation.nova.domain.runtimes import PYTHON, Program

INTERPRETER = Program(
    name=f"python{sys.version_info.major}.{sys.version_info.minor}",
    package="the Python that this platform runs on",
    beside=(str(Path(sys.base_prefix, "bin")),),
)


def pip_tools(runtime: str, *, version: str) -> Tools:
    """Return what runs pip in a build; raises BuilderUnavailable."""
    pip = importlib.util.find_spec("pip")
    places = list((pip.submodule_search_locations if pip is not None else None) or ())
    if not places:
        raise BuilderUnavailable(runtime, reason="the platform's Python has no pip; run python -m ensurepip")
    return Tools(
        version=version,
        path=(Path(sys.base_prefix, "bin"),),
        prefixes=(Path(sys.base_prefix),),
        binds=(Bind(source=places[0], target="/run/tools/pip"),),
    )


def _asked(_found: tuple[Path, ...]) -> Tools:
    tools = pip_tools(PYTHON.id, version="")
    return replace(tools, version=f"{platform.python_version()} pip {importlib.metadata.version('pip')}")


TOOLCHAIN = Toolchain(
    runtime=PYTHON.id,
    recipe=Path(__file__).parent / "install",
    programs=(INTERPRETER,),
    asked=_asked,
    registries=("pip",),
)
