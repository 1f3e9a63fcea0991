"""Rows that C encodes are the rows that Python would have written."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import pytest
from prometheus_client import Counter

from constellation.base.ids import uuid7
from constellation.comet.executor.rows import RowWriter
from constellation.native.table import Table
from constellation.native.table_values import FunctionHandle, FunctionRow, Record, Status, TableOptions
from constellation.nova.config.sections import LogSettings
from constellation.nova.domain.function import Function
from constellation.nova.domain.invocation import InvocationRecord
from constellation.nova.store.invocations import Invocations
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.rows import row_head
from constellation.testing.database import FreshDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NOW = datetime.now(UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ODD_TEXTS = (
    b"",
    b"plain\n",
    "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{EURO SIGN}\N{GRINNING FACE}".encode(),
    b"a\0b\0",
    b"\xc0\xaf",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80!",
    b"\xf0\x9f\x98" + b"x" * 70_000,
    b"\0" * 400_000,  # as text it is more than a batch holds
    bytes(range(256)),
)


class Node:
    """A table with one function, and what its log says when it is read by the table's row."""

    def __init__(self, db: Database, *, max_records: int = 500, **settings: object) -> None:
        self.table = Table(
            TableOptions(max_instances=1, max_boots=1, max_calls=1, idle_ttl_s=1.0, max_records=max_records)
        )
        self.function = Function(tenant="acme", namespace="prod", name="f", runtime="python", handler="h", id=uuid7())
        row = FunctionRow(tenant="acme", namespace="prod", name="f", max_payload_bytes=1)
        self.handle: FunctionHandle = self.table.put_function(row, now_ns=0)
        self.table.set_row_head(self.handle, row_head(self.function, node="node-1"))
        self.log = Invocations(db)
        self.dropped = Counter("dropped", "Dropped", registry=None)
        self.writer = RowWriter(self.table, self.log, LogSettings(**settings), dropped=self.dropped)
        self._db = db

    def put(self, **changes: object) -> InvocationRecord:
        """Append a record; return the row that Python makes of it."""
        started_at = NOW - timedelta(milliseconds=5)
        record = Record(
            request_id=uuid7().bytes,
            function=self.handle,
            version=3,
            started_at_us=(started_at - EPOCH) // timedelta(microseconds=1),
            duration_ns=1_234_567,
            queued_ns=89,
            input_bytes=2,
            output_bytes=3,
            status=Status.OK,
            is_cold=False,
            is_log_truncated=False,
            log=b"",
            error=b"",
            source=b"http",
        )._replace(**changes)
        assert self.table.append_record(record)
        return InvocationRecord(
            tenant=self.function.tenant,
            namespace=self.function.namespace,
            id=UUID(bytes=record.request_id),
            function_id=self.function.id,
            function_name=self.function.name,
            function_version=record.version,
            runtime=self.function.runtime,
            node="node-1",
            started_at=EPOCH + timedelta(microseconds=record.started_at_us),
            duration_ms=record.duration_ns / 1e6,
            queued_ms=record.queued_ns / 1e6,
            cold_start=record.is_cold,
            status=self.table.status_names()[record.status],
            error=record.error.decode("utf-8", "replace") if record.error else None,
            input_bytes=record.input_bytes,
            output_bytes=record.output_bytes,
            log=record.log.decode("utf-8", "replace"),
            log_truncated=record.is_log_truncated,
            source=record.source.decode("utf-8", "replace"),
        )

    async def rows(self) -> dict[UUID, InvocationRecord]:
        """Return all that is written."""
        found = await self._db.fetch("SELECT * FROM invocations WHERE tenant = 'acme'")
        rows = [{name: value for name, value in row.items() if name != "recorded_at"} for row in found]
        return {row["id"]: InvocationRecord(**row) for row in rows}

    async def as_python_writes(self, records: list[InvocationRecord]) -> dict[UUID, InvocationRecord]:
        """Write the same by the other way, for another tenant, and return it as this tenant's."""
        other = [_changed(record, tenant="other") for record in records]
        await self.log.record(other)
        found = await self._db.fetch("SELECT * FROM invocations WHERE tenant = 'other'")
        rows = [{name: value for name, value in row.items() if name != "recorded_at"} for row in found]
        return {row["id"]: InvocationRecord(**(row | {"tenant": "acme"})) for row in rows}


def _changed(record: InvocationRecord, **changes: object) -> InvocationRecord:
    return InvocationRecord(**({name: getattr(record, name) for name in record.__slots__} | changes))


async def test_rows_of_every_status_and_text_equal_those_of_python(db: Database) -> None:
    node = Node(db)
    node.table.status("database_unavailable")
    written = [node.put(status=status) for status in node.table.status_names()]
    written += [node.put(log=text, error=text, is_log_truncated=True) for text in ODD_TEXTS]
    written += [
        node.put(is_cold=True, duration_ns=0, queued_ns=2**53 + 1),
        node.put(input_bytes=2**31 - 1, output_bytes=0, version=2**31 - 1),
        node.put(source=b"schedule"),
        node.put(started_at_us=0),
        node.put(started_at_us=253_402_300_799_000_000),
    ]
    await node.writer.flush(within_s=30)
    rows = await node.rows()
    assert len(rows) == len(written)
    assert rows == await node.as_python_writes(written)
    assert node.table.records == 0
    assert node.dropped._value.get() == 0
    assert rows[written[0].id] == written[0]


@pytest.mark.parametrize("seed", range(3))
async def test_random_rows_equal_those_of_python(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    alphabet = [b"a", b"\n", b"\0", b"\xc3\xbc", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80"]

    def text() -> bytes:
        pieces = (chance.choice(alphabet) if chance.random() < 0.8 else chance.randbytes(3) for _ in range(40))
        return b"".join(pieces)[: chance.randrange(100)]

    node = Node(db, batch_rows=70)
    statuses = list(node.table.status_names())
    written = [
        node.put(
            version=chance.randrange(2**31),
            started_at_us=chance.randrange(253_402_300_799_000_000),
            duration_ns=chance.randrange(2 ** chance.randrange(1, 60)),
            queued_ns=chance.randrange(2 ** chance.randrange(1, 60)),
            input_bytes=chance.randrange(2**31),
            output_bytes=chance.randrange(2**31),
            status=chance.choice(statuses),
            is_cold=chance.random() < 0.5,
            is_log_truncated=chance.random() < 0.5,
            log=text(),
            error=text(),
        )
        for _ in range(300)
    ]
    await node.writer.flush(within_s=30)
    assert await node.rows() == await node.as_python_writes(written)


async def test_a_batch_is_put_in_row_by_row_over_its_time(db: Database) -> None:
    """Gathered by the server and put in at once, or sent at once, all of its rows would be of one instant."""
    node = Node(db, flush_interval_s=0.2)
    for _ in range(400):
        node.put()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.writer.run, lambda: None)
        node.writer.wake_nowait()
        with anyio.fail_after(30):
            while node.table.records:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    instants = "SELECT count(DISTINCT recorded_at), max(recorded_at) - min(recorded_at) AS over FROM invocations"
    (found,) = await db.fetch(instants)
    assert found["count"] > 100
    assert found["over"] > timedelta(seconds=0.15)


async def test_a_number_that_no_column_takes_is_the_largest_that_one_does(db: Database) -> None:
    node = Node(db)
    node.put(input_bytes=2**31, output_bytes=2**64 - 1, version=2**40)
    await node.writer.flush(within_s=30)
    (row,) = (await node.rows()).values()
    assert (row.input_bytes, row.output_bytes, row.function_version) == (2**31 - 1,) * 3


async def test_a_batch_with_rows_that_are_there_already_adds_the_others(db: Database) -> None:
    node = Node(db)
    first = node.put(log=b"first")
    await node.writer.flush(within_s=30)
    node.put(request_id=first.id.bytes, log=b"again")
    twice = node.put(log=b"once")
    node.put(request_id=twice.id.bytes, log=b"twice")
    fresh = node.put()
    await node.writer.flush(within_s=30)
    assert await node.rows() == {row.id: row for row in (first, twice, fresh)}
    assert await db.fetch_value("SELECT count(*) FROM invocations_staged") == 0
    assert node.dropped._value.get() == 0


async def test_a_row_that_the_database_refuses_costs_itself_only(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("ALTER TABLE invocations ADD CHECK (log <> 'refused')")
    node = Node(db)
    written = [node.put(log=log) for log in (b"a", b"refused", b"b", b"c")]
    await node.writer.flush(within_s=30)
    assert set(await node.rows()) == {row.id for row in written if row.log != "refused"}
    assert node.dropped._value.get() == 1


async def test_a_follower_is_woken_and_reads_the_rows(db: Database) -> None:
    node = Node(db, flush_interval_s=0.01)
    tail = await node.log.follow("acme", "prod")
    heard = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.writer.run, heard.set)
        written = node.put()
        node.writer.wake_nowait()
        with anyio.fail_after(30):
            await heard.wait()
            while not (rows := await tail.poll()):
                await anyio.sleep(0.01)
        assert rows == (written,)
        tasks.cancel_scope.cancel()


async def test_what_is_not_durable_does_not_wait_for_the_disk(database: FreshDatabase) -> None:
    show = "SELECT current_setting('synchronous_commit') || current_setting('transaction_read_only')"
    async with connect(f"{database.dsn()}&synchronous_commit=on", application="tests", max_size=1) as db:
        async with db.transaction(is_durable=False) as tx:
            assert await tx.fetch_value(show) == "offoff"
        async with db.transaction() as tx:
            assert await tx.fetch_value(show) == "onoff"
        assert await db.fetch_value(show) == "onon"
