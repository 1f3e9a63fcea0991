"""Interactive sandboxes in namespaces: their keeper holds them, their templates say what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from constellation.comet.sandboxes.keeping import Keeping
from constellation.comet.sandboxes.templates import Templates
from constellation.comet.sandboxes.wanted import Answer, Wanted
from constellation.nova.store.sandboxes import NewSandbox


class Namespaces:
    """Implements `Place`."""

    fork_refusal = ""

    def __init__(self, keeping: Keeping, templates: Templates) -> None:
        self._keeping, self._templates = keeping, templates

    @property
    def python(self) -> Sequence[str]:
        return self._templates.python

    async def checked(self, new: NewSandbox) -> NewSandbox:
        """Raises `TemplateUnavailable`."""
        self._templates.get(new.template)
        return new

    async def create(self, sandbox_id: UUID, new: NewSandbox) -> None:
        """Raises `KeeperFailed`."""
        template = self._templates.get(new.template)
        await self._keeping.create(
            Wanted(
                id=str(sandbox_id),
                tenant=new.tenant,
                memory_mb=new.memory_mb,
                cpu_millis=new.cpu_millis,
                processes=new.processes,
                disk_mb=new.disk_mb,
                agent_argv=list(template.agent_argv),
                binds=list(template.binds),
                prefixes=list(template.prefixes),
                links=list(template.links),
            )
        )

    def socket_of(self, sandbox_id: str) -> Path:
        return self._keeping.socket_of(sandbox_id)

    async def list(self) -> Answer:
        return await self._keeping.list()

    async def pause(self, sandbox_id: str) -> None:
        await self._keeping.pause(sandbox_id)

    async def resume(self, sandbox_id: str) -> None:
        await self._keeping.resume(sandbox_id)

    async def copy(self, source: str, to: str) -> None:
        await self._keeping.copy(source, to)

    async def remove(self, sandbox_id: str) -> None:
        await self._keeping.remove(sandbox_id)
