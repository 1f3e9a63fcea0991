"""The languages, and whether their interpreters are installed where this platform is."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from constellation.nova.api.request import ApiRequest
from constellation.nova.config.interpreters import InterpreterMissing, locate, locate_tool, refuse_incomplete
from constellation.nova.domain.runtimes import RUNTIMES, RuntimeInfo
from constellation.nova.store import page as store
from constellation.nova.store.functions import Functions
from constellation.routes.models.functions import RuntimeBody
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What was found of a language."""

    version: str  # empty when it is unknown
    missing: str = ""  # what is missing; empty: nothing


def probe(configured: Mapping[str, Path]) -> dict[str, Installed]:
    """Look for the interpreter or the compiler of each runtime; those that need libraries are run. Call it in a thread.

    Args:
        configured: runtime id -> the interpreter that the settings name.
    """
    return {info.id: _found(info, configured.get(info.id)) for info in RUNTIMES.values()}


def _found(info: RuntimeInfo, configured: Path | None) -> Installed:
    if info.lambda_api:
        return Installed(version=info.lambda_api)
    if not info.programs and not info.is_compiled:
        return _python()
    try:
        for program in info.tools:
            locate_tool(program)
        path = locate(info, configured) if info.programs else None
        if path is not None:
            refuse_incomplete(info, path)
        if info.wheel and not info.programs:
            return _library(info)
    except InterpreterMissing as error:
        return Installed(version="", missing=str(error))
    is_of_wheel = path is not None and info.wheel and info.wheel in path.parts
    return Installed(version=importlib.metadata.version(f"{info.wheel}-binaries") if is_of_wheel else "")


def _library(info: RuntimeInfo) -> Installed:
    try:
        return Installed(version=importlib.metadata.version(info.wheel))
    except importlib.metadata.PackageNotFoundError:
        return Installed(version="", missing=f"{info.source} is not installed")


def _python() -> Installed:
    path = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if not path.is_file():
        return Installed(version="", missing=f"{path} does not exist")
    return Installed(version=platform.python_version())


class RuntimeRoutes:
    """Operations on runtimes."""

    def __init__(self, functions: Functions, *, find: Callable[[], Mapping[str, Installed]]) -> None:
        """Look for nothing yet.

        Args:
            find: looks for all of them, once, in a thread: running R takes longer than nova's start.
        """
        self._functions, self._find = functions, find
        self._finding = anyio.Lock()
        self._installed: Mapping[str, Installed] = {}

    async def list_runtimes(self, call: ApiRequest[None]) -> Page[RuntimeBody]:
        async with self._finding:
            self._installed = self._installed or await to_thread.run_sync(self._find)
        known = sorted(RUNTIMES.values(), key=lambda info: info.id)
        window = call.window
        shown = [await self._body(call, info) for info in known[window.offset : window.offset + window.limit]]
        return page_of(store.Page(items=tuple(shown), total=len(known)), window, lambda body: body)

    async def _body(self, call: ApiRequest[None], info: RuntimeInfo) -> RuntimeBody:
        found = self._installed[info.id]
        used = await self._functions.list(*call.scope, runtime=info.id, limit=1)
        return RuntimeBody(
            id=info.id,
            name=info.name,
            version=found.version,
            status="unavailable" if found.missing else "available",
            reason=found.missing,
            default_handler=info.default_handler,
            file_extension=info.extension,
            functions_count=used.total,
        )
