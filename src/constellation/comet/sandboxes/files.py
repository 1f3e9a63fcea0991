"""Files of a sandbox, through its agent: written whole, or in place at an offset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constellation.comet.sandboxes.frames import DATA, END
from constellation.comet.sandboxes.link import asking


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    path: str
    content: bytes
    mode: int = 0o644
    offset: int | None = None  # None: the whole file


async def write(socket: Path, file: File) -> dict[str, Any]:
    """Write a file and return what the agent says of it. Raises `SandboxRefused`, `AgentGone`."""
    request: dict[str, object] = {"op": "write", "path": file.path, "mode": file.mode}
    if file.offset is not None:
        request["offset"] = file.offset
    async with asking(socket, request) as link:
        if file.content:
            await link.send(DATA, file.content)
        await link.send(END)
        return await link.answer()
