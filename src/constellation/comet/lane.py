"""What Python adds to comet's lane in C: the words of refusals, the identities it may trust, the rows of the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import structlog

from constellation.base.errors import ConstellationError, InvalidRequest, Overloaded
from constellation.comet.backend.contract import CallTimeout, InstanceDied, OutputInvalid
from constellation.comet.executor.meters import Meters
from constellation.comet.executor.record import RecordWriter
from constellation.comet.pool.pool import Pool, Served
from constellation.comet.pool.wording import node_refusal, refusal
from constellation.comet.refusals import FunctionHalted, InflightLimit, QueueFull, QueueWaitTimeout
from constellation.native.h2 import Port
from constellation.native.lane import Lane, LaneCase, Words
from constellation.native.link import Links
from constellation.native.reactor import Reactor
from constellation.native.table import Table
from constellation.native.table_values import Detail, Identity, Record, Status
from constellation.nova.domain.access import Permission
from constellation.nova.domain.function import Function
from constellation.nova.domain.invocation import InvocationRecord
from constellation.rpc.caller import Caller
from constellation.rpc.problems import TRAILER, status_of, trailer_of

log = structlog.get_logger()

# Chosen: rows of the log wait so long for others, and at most so many are taken at a time. One costs Python about 15 us
# until it is on its way to the database, so 5,000 a second cost 8 % of a core; smaller batches would cost the database
# more than they spare the calls. What comes faster for longer than the table's ring holds is dropped and counted; the
# counts of calls stay exact.
RECORDS_PAUSE_S = 0.05
RECORDS_A_TURN = 250


class LaneKeeper:
    """Owns the lane of one node. A watcher of the function cache: each function's static refusals go down with its row."""

    def __init__(
        self,
        reactor: Reactor,
        links: Links,
        table: Table,
        pool: Pool,
        records: RecordWriter,
        meters: Meters,
        *,
        service_token: str,
        node: str,
    ) -> None:
        self._table, self._pool, self._records, self._meters = table, pool, records, meters
        self._node = node
        self._status_names: dict[int, str] = {}
        self._is_due: asyncio.TimerHandle | None = None
        self._dropped = 0
        self._lane = Lane(
            reactor,
            table,
            links,
            authorization=f"Bearer {service_token}",
            words=self._words,
            on_effects=pool.run_effects_nowait,
            on_records=self._records_wait,
        )

    def attach(self, port: Port) -> None:
        """Serve what a port takes in, until it is closed."""
        self._lane.attach(port)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Close it at the block's end."""
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """End the calls in hand and give all records to the writer; may be repeated."""
        self._lane.close()
        if self._is_due is not None:
            self._is_due.cancel()
        while self._take_records():
            pass

    # Identities.

    def learn(self, caller: Caller) -> None:
        """Let the lane trust a token that was verified here, from its next call on."""
        identity = caller.identity
        self._table.put_identity(
            caller.token.encode(),
            Identity(
                identity.tenant,
                identity.namespace,
                identity.subject,
                Permission.FUNCTION_INVOKE in identity.permissions,
                identity.expires_at_s,
                identity.rate_per_s,
                identity.burst,
            ),
        )

    # Words.

    def update(self, function: Function, *, is_suspended: bool) -> None:  # noqa: ARG002  # a watcher's signature
        """Say once what a function's refusals say every time."""
        served = self._pool.served(function.id)
        if served is None:
            return
        for status, error in (
            (Status.HALTED, FunctionHalted(function.name)),
            (Status.INFLIGHT_LIMIT, InflightLimit(function.name, function.capacity)),
            (Status.QUEUE_FULL, QueueFull(function.name, function.capacity)),
            (Status.QUEUE_WAIT_TIMEOUT, QueueWaitTimeout(function.name, function.capacity)),
            (Status.OUTPUT_INVALID, OutputInvalid(function.name)),
        ):
            words = _words_of(error)
            self._table.set_refusal(
                served.handle,
                status,
                grpc_status=words.grpc_status,
                message=words.message.encode(),
                problem=words.problem,
            )

    def forget(self, function_id: UUID) -> None:
        """The words go with the function's entry."""

    def remove(self, function_id: UUID) -> None:
        """The words go with the function's entry."""

    def _words(self, case: LaneCase | None) -> Words:
        return _words_of(Overloaded("comet", limit=0) if case is None else self._error(case))

    def _error(self, case: LaneCase) -> ConstellationError:
        verdict = case.verdict
        served = self._pool.served_by(case.function) if case.function else None
        if served is None:
            return node_refusal(verdict)
        boot_error = self._pool.boot_error(case.member) if case.member else None
        if boot_error is not None:
            return boot_error
        name = served.function.name
        match verdict.code:
            case Status.TIMEOUT if verdict.detail == Detail.NONE:
                return CallTimeout(name, after_s=case.timeout_s)
            case Status.INSTANCE_DIED:
                return InstanceDied(name, cause=case.text)
            case Status.OUTPUT_INVALID:
                return OutputInvalid(name)
            case Status.INVALID_REQUEST:
                return InvalidRequest("the payload is not valid JSON")
            case _:
                return refusal(
                    verdict, served.function, subject=case.text, rate_per_s=case.rate_per_s, budget_s=case.given_s
                )

    # Records.

    def _records_wait(self) -> None:
        if self._is_due is None:
            self._is_due = asyncio.get_running_loop().call_later(RECORDS_PAUSE_S, self._records_due)

    def _records_due(self) -> None:
        self._is_due = None
        self._lane.hear_records()
        taken = more = 0
        while taken < RECORDS_A_TURN and (more := self._take_records()):
            taken += more
        if more:
            self._records_wait()

    def _take_records(self) -> int:
        records = self._table.take_records()
        for record in records:
            served = self._pool.served_by(record.function)
            if served is not None:
                self._records.put_nowait(self._row(record, served))
        dropped = self._table.records_dropped
        if dropped > self._dropped:
            self._meters.records_dropped.inc(dropped - self._dropped)
            self._dropped = dropped
        return len(records)

    def _row(self, record: Record, served: Served) -> InvocationRecord:
        function = served.function
        return InvocationRecord(
            tenant=function.tenant,
            namespace=function.namespace,
            id=UUID(bytes=record.request_id),
            function_id=function.id,
            function_name=function.name,
            function_version=record.code_version,
            runtime=function.runtime,
            node=self._node,
            started_at=datetime.fromtimestamp(record.started_at_us / 1e6, UTC),
            duration_ms=record.duration_ns / 1e6,
            queued_ms=record.queued_ns / 1e6,
            cold_start=record.is_cold,
            status=self._status_name(record.status),
            error=record.error.decode("utf-8", "replace") if record.error else None,
            input_bytes=record.input_bytes,
            output_bytes=record.output_bytes,
            log=record.log.decode("utf-8", "replace"),
            log_truncated=record.is_log_truncated,
            source=record.source.decode("utf-8", "replace"),
        )

    def _status_name(self, status: int) -> str:
        name = self._status_names.get(status)
        if name is None:  # numbered since
            self._status_names = self._table.status_names()
            name = self._status_names[status]
        return name


def _words_of(error: ConstellationError) -> Words:
    return Words(status_of(error).value, str(error)[:512], trailer_of(error)[TRAILER])
