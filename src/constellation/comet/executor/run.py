"""One call that was let in, from its beginning to what its caller is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from constellation.comet.backend.contract import Outcome, StreamOutcome
from constellation.comet.pool.pool import Lease
from constellation.native.table_values import CallHandle
from constellation.nova.domain.function import Function
from constellation.rpc.invoker import Invoked


@dataclass(slots=True, eq=False)
class Run:
    """One call that was let in."""

    request_id: UUID
    function: Function
    source: str
    input_bytes: int
    started_at: datetime
    started_s: float
    version: int  # of the code that ran, or would have
    call: CallHandle | None = None  # the guard chain let it in
    lease: Lease | None = None
    is_recorded: bool = False  # it is a row of the log, however it ends
    is_broken: bool = False  # its instance may still be running it


class Streamed:
    """An answer that comes in pieces: iterate, then read `end`."""

    def __init__(self, run: Run, source: StreamOutcome) -> None:
        self._run, self._source = run, source
        self._pieces = source.__aiter__()
        self.sent_bytes = 0
        self.outcome: Outcome | None = None

    @property
    def request_id(self) -> str:
        return str(self._run.request_id)

    def __aiter__(self) -> Streamed:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._pieces.__anext__()
        except StopAsyncIteration:
            self.outcome = self._source.outcome
            raise
        self.sent_bytes += len(piece)
        return piece

    @property
    def end(self) -> Invoked:
        """How the call ended; valid after the iteration."""
        assert self.outcome is not None
        return invoked(self._run, self.outcome)


def invoked(run: Run, outcome: Outcome) -> Invoked:
    return Invoked(
        request_id=str(run.request_id),
        output=outcome.output,
        error=outcome.error,
        duration_ms=outcome.duration_ms,
        cold_start=run.lease is not None and run.lease.is_cold,
        version=str(run.version),
    )
