"""What a build prints, on its way to the database: gathered into batches, bounded, and marked where it was cut."""

from __future__ import annotations

from typing import Protocol

import anyio
import structlog

from constellation.base.errors import ConstellationError
from constellation.nova.domain.build import MAX_LOG_BYTES
from constellation.nova.store.builds import ClaimedBuild

log = structlog.get_logger()

BATCH_S = 0.25  # chosen: a reader sees a line soon, and a chatty compiler is four writes a second
_RETRY_S = 1.0
CUT = b"\n[the log is cut here: it is over %d KiB]\n" % (MAX_LOG_BYTES >> 10)


class LogStore(Protocol):
    async def append_log(self, claim: ClaimedBuild, text: bytes, *, is_cut: bool) -> bool: ...


class BuildLog:
    """The log of one attempt. `write` never waits; `run` carries what was written to the store until `close`."""

    def __init__(self, store: LogStore, claim: ClaimedBuild) -> None:
        self._store, self._claim = store, claim
        self._room_bytes = MAX_LOG_BYTES - claim.build.log_bytes
        self._is_cut = claim.build.log_truncated
        self._text = bytearray()
        self._some = anyio.Event()
        self._closed = anyio.Event()

    def write(self, text: bytes) -> None:
        """Take what the build printed; what is over the bound is dropped, and said so once."""
        if self._is_cut or not text:
            return
        if len(text) > self._room_bytes:
            text = text[: max(0, self._room_bytes)] + CUT
            self._is_cut = True
        self._room_bytes -= len(text)
        self._text += text
        self._some.set()

    def close(self) -> None:
        """Nothing more is written; `run` returns when all of it is stored."""
        self._closed.set()
        self._some.set()

    async def run(self) -> None:
        """Write batches; a database that is away is waited for, as long as the build's lease lets us."""
        while True:
            await self._some.wait()
            with anyio.move_on_after(BATCH_S):
                await self._closed.wait()
            self._some = anyio.Event()
            try:
                await self._flush()
            except ConstellationError as error:
                log.warning("build.log_delayed", build=str(self._claim.build.id), reason=str(error))
                self._some.set()
                await anyio.sleep(_RETRY_S)
                continue
            if self._closed.is_set() and not self._text:
                return

    async def _flush(self) -> None:
        text = bytes(self._text)
        if text:
            await self._store.append_log(self._claim, text, is_cut=self._is_cut)
            del self._text[: len(text)]
