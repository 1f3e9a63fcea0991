"""What workers of a language need that each host makes once: in a sandbox, before the first of them starts.

It is made when it is first wanted, by a task of its own: it outlives the caller that caused it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from constellation.base.errors import ConstellationError
from constellation.base.ids import uuid7
from constellation.comet.backend.contract import SandboxStartFailed
from constellation.comet.builds.contract import BuildRequest
from constellation.comet.builds.follow import follow
from constellation.comet.builds.output import Output
from constellation.comet.builds.plans import limits_of, plan_of_build
from constellation.comet.builds.seeds import Seeds
from constellation.comet.namespace.sandboxes import Sandbox
from constellation.comet.namespace.slots import Limits, Slot
from constellation.comet.runtimes.recipe import KIT_DIR, Interpreter, Kit
from constellation.comet.runtimes.registry import Installed, Registry
from constellation.native.sandbox import Plan

_log = structlog.get_logger()
_SCRIPT = "kit.sh"
_MEMORY_MB, _DISK_MB = 512, 64  # chosen: javac takes 150 MiB
_WITHIN_S = 120.0  # chosen: it takes three seconds of a core


class Lend(Protocol):
    """Runs a program in a sandbox of its own (`NamespaceBackend.lend`)."""

    def __call__(
        self, limits: Limits, plan_in: Callable[[Slot], Plan], *, tenant: str
    ) -> AbstractAsyncContextManager[Sandbox]: ...


@dataclass(slots=True, eq=False)
class _Making:
    ended: anyio.Event = field(default_factory=anyio.Event)
    path: Path | None = None
    reason: str = ""


class Kits:
    """Those of one backend, below a directory that several may share."""

    def __init__(self, tasks: TaskGroup, registry: Registry, root: Path, lend: Lend) -> None:
        self._tasks, self._registry, self._seeds, self._lend = tasks, registry, Seeds(root), lend
        self._makings: dict[tuple[str, Path], _Making] = {}

    def start_nowait(self, installed: Collection[Installed]) -> None:
        """Have them made that these runtimes need, if they are not there."""
        for each in installed:
            if each.runtime.kit is not None:
                self._making(each.runtime.kit, each.interpreter)

    async def of(self, installed: Installed) -> Path | None:
        """Return where the runtime's is, once it has been made; None: it needs none.

        Raises:
            SandboxStartFailed: it could not be made; the next one who asks has it tried again.
        """
        kit = installed.runtime.kit
        if kit is None:
            return None
        making = self._making(kit, installed.interpreter)
        await making.ended.wait()
        if making.path is None:
            raise SandboxStartFailed(step="kit", reason=making.reason)
        return making.path

    def _making(self, kit: Kit, interpreter: Interpreter) -> _Making:
        key = (kit.name, interpreter.path)
        making = self._makings.get(key)
        if making is None or (making.ended.is_set() and making.path is None):
            making = self._makings[key] = _Making()
            self._tasks.start_soon(self._make, kit, interpreter, making)
        return making

    async def _make(self, kit: Kit, interpreter: Interpreter, making: _Making) -> None:
        try:
            key = await anyio.to_thread.run_sync(_key, kit, interpreter)
            await anyio.to_thread.run_sync(self._seeds.keep, await anyio.to_thread.run_sync(self._keys))
            with anyio.fail_after(_WITHIN_S):
                making.path = await self._seeds.get(key, partial(self._run, kit, interpreter))
        except TimeoutError:
            making.reason = f"what {kit.name} workers share was not made within {_WITHIN_S:g} s"
        except (ConstellationError, OSError) as error:
            making.reason = f"what {kit.name} workers share was not made: {error}"
        finally:
            if making.reason:
                _log.warning("kit.failed", kit=kit.name, reason=making.reason)
            making.ended.set()

    def _keys(self) -> set[str]:
        """Return what those of this host's interpreters are called; others are of versions that it had before."""
        kits = [(each.runtime.kit, each.interpreter) for each in self._registry.installed.values()]
        return {_key(kit, interpreter) for kit, interpreter in kits if kit is not None}

    async def _run(self, kit: Kit, interpreter: Interpreter, output_dir: Path) -> None:
        toolchain = kit.toolchain(interpreter)
        tools = await anyio.to_thread.run_sync(toolchain.find)
        request = BuildRequest(
            build_id=uuid7(),
            tenant="",
            namespace="",
            function_id=uuid7(),
            function_name="",
            runtime=toolchain.runtime,
            handler="",
            sources=toolchain.recipe,
            output=output_dir,
            memory_mb=_MEMORY_MB,
            disk_mb=_DISK_MB,
        )
        plan_in = partial(
            plan_of_build,
            request,
            toolchain=toolchain,
            tools=tools,
            sources=None,
            proxy=None,
            cache=None,
            script=_SCRIPT,
            may_share_memory=False,
            output_link=KIT_DIR,
        )
        output = Output(lambda said: _log.debug("kit.said", kit=kit.name, text=said.decode(errors="replace")))
        async with self._lend(limits_of(request), plan_in, tenant="") as sandbox:
            await follow(
                request, sandbox, output, has_memory_group=True
            )  # none is needed: what runs is the platform's own
        await anyio.to_thread.run_sync(_forget_times, output_dir)


def _forget_times(root: Path) -> None:
    """Give every file the time that it had in the sandbox by agreement: an archive of classes knows that of its sources."""
    for path in root.rglob("*"):
        os.utime(path, (0, 0))


def _key(kit: Kit, interpreter: Interpreter) -> str:
    return f"{kit.name}-{kit.mark(interpreter)}-{kit.toolchain(interpreter).fingerprint()}"
