"""Why a server denies a guest something: where its database is full, it is told that, in place of what it may not do."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import anyio
import structlog

from constellation.base.errors import ConstellationError
from constellation.comet.databases.wire import Piece, error, error_fields
from constellation.nova.domain.database import DatabaseSize, when_full

log = structlog.get_logger()

FULL = "53100"  # SQLSTATE: disk full
_DENIED = "42501"  # insufficient privilege
_LOOK_S = 2.0  # chosen: one row of the platform's database
# What the role that a full database is left to has no right to, as the server says it. Of its catalogs nobody has more.
_FOR_LACK = re.compile(
    r"(permission denied for ((table|view|materialized view|relation|schema|sequence|database|large object) (?!pg_)|function lo_)"
    r"|permission denied to create temporary tables |must be owner of )"
)


class Denials:
    """Those of one session: sessions end when their database becomes full or is it no more, so that is asked for once."""

    def __init__(self, name: str, size: Callable[[], Awaitable[DatabaseSize | None]]) -> None:
        """Explain what is denied in the database of a name, of which `size` tells how full it is, if it has a size."""
        self._name, self._size = name, size
        self._found: DatabaseSize | None = None
        self._has_looked = False

    async def explained(self, piece: Piece) -> Piece:
        """Return what the guest gets in the place of what the server says."""
        denied = _denied(piece)
        if not denied:
            return piece
        if not self._has_looked:
            await self._look()
        if self._found is None or not self._found.is_full:
            return piece
        text, hint = when_full(self._name, self._found)
        return Piece(piece.kind, error(FULL, text, detail=f"The server says: {denied}", hint=hint))

    async def _look(self) -> None:
        try:
            with anyio.fail_after(_LOOK_S):
                self._found = await self._size()
        except (ConstellationError, TimeoutError) as failure:  # then the server's words have to do
            log.warning("database.size_unknown", database=self._name, reason=str(failure) or "it took too long")
            return
        self._has_looked = True


def _denied(piece: Piece) -> str:
    """Return the server's words if it denies what a full database denies, else ""."""
    if piece.kind != ord("E") or not (piece.is_first and piece.is_last):
        return ""
    fields = error_fields(piece.body)
    said = fields.get("M", "")
    return said if fields.get("C") == _DENIED and _FOR_LACK.match(said) else ""
