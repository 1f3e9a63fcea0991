"""Sandboxes that are made while the others are tended: what the tending saw is old when it acts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from constellation.comet.sandboxes import machines
from constellation.comet.sandboxes.holds import Holds
from constellation.comet.sandboxes.machines import Machines
from constellation.comet.sandboxes.wanted import Answer, Kept
from constellation.native.table import Table
from constellation.native.table_values import TableOptions, TenantHandle, TenantRow
from constellation.nova.config.sections import MachineSettings
from constellation.nova.domain.quota import QuotaExceeded
from constellation.nova.domain.sandbox import OnIdle, SandboxState
from constellation.nova.store.pool import connect
from constellation.nova.store.sandboxes import NewSandbox, Sandboxes
from constellation.nova.store.tenancy import Tenancy
from constellation.testing.database import FreshDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NEW: dict[str, Any] = {
    "tenant": "a", "namespace": "default", "template": "python", "memory_mb": 64, "cpu_millis": 1000, "disk_mb": 36,
    "processes": 64, "ttl_s": 60.0, "idle_timeout_s": 0.0, "on_idle": OnIdle.PAUSE, "env": {},
}  # fmt: skip


class Place:
    """Sandboxes of nothing. Making one, and telling of all, wait until they may go on."""

    fork_refusal = ""
    python = ("python",)

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.paused: set[str] = set()
        self.may_make, self.may_tell = anyio.Event(), anyio.Event()
        self.is_making, self.is_telling = anyio.Event(), anyio.Event()

    async def checked(self, new: NewSandbox) -> NewSandbox:
        return new

    async def create(self, sandbox_id: object, new: NewSandbox) -> None:
        self.is_making.set()
        await self.may_make.wait()
        self.there.add(str(sandbox_id))

    def socket_of(self, sandbox_id: str) -> Path:
        return Path(sandbox_id)

    async def list(self) -> Answer:
        self.is_telling.set()
        await self.may_tell.wait()
        return Answer(kept=[Kept(id=each, is_paused=each in self.paused) for each in self.there])

    async def pause(self, sandbox_id: str) -> None:
        self.paused.add(sandbox_id)

    async def resume(self, sandbox_id: str) -> None:
        self.paused.discard(sandbox_id)

    async def remove(self, sandbox_id: str) -> None:
        self.there.discard(sandbox_id)


class Node:
    """A table, as a comet that has just started has it."""

    def __init__(self, **limits: int) -> None:
        self.table = Table(TableOptions(max_instances=2, max_boots=1, max_calls=2, idle_ttl_s=1.0, max_functions=2))
        self.tenant = self.table.put_tenant("a", TenantRow(**limits))
        self.holds = Holds(self, self.table)

    async def handle_of(self, tenant: str) -> TenantHandle:
        await anyio.lowlevel.checkpoint()
        return self.tenant

    @property
    def has(self) -> tuple[int, int]:
        stats = self.table.tenant_stats(self.tenant)
        return stats.memory_mb, stats.cpu_millis


async def pings(socket: Path, request: dict[str, Any]) -> dict[str, Any]:
    return {}


@pytest.fixture
async def book(database: FreshDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandboxes]:
    monkeypatch.setattr(machines, "ask", pings)
    async with (
        connect(database.dsn("comet"), application="comet", max_size=8) as db,
        connect(database.dsn("nova"), application="nova", max_size=2) as nova,
    ):
        await Tenancy(nova).create_tenant("a", name="")
        yield Sandboxes(db, node="one", limits=lambda _tenant: MachineSettings())


@pytest.mark.parametrize("is_begun_first", [True, False])
async def test_a_sandbox_that_is_made_during_a_tending_lives(book: Sandboxes, *, is_begun_first: bool) -> None:
    place = Place()
    having = Machines(book, {"namespace": place}, Node().holds, node="one", tend_s=0.001)
    is_made = anyio.Event()

    async def make() -> None:
        await having.create(NewSandbox(**NEW))
        is_made.set()

    place.may_tell.set()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            await tasks.start(having.run)
            if is_begun_first:
                tasks.start_soon(make)
                await place.is_making.wait()
            place.may_tell, place.is_telling = anyio.Event(), anyio.Event()
            await place.is_telling.wait()  # the tending knows the rows by now
            if not is_begun_first:
                tasks.start_soon(make)
            place.may_make.set()
            await is_made.wait()
            place.is_telling = anyio.Event()
            place.may_tell.set()
            await place.is_telling.wait()  # it has acted, and looks again
            tasks.cancel_scope.cancel()
    [sandbox] = (await book.list("a", "default")).items
    assert sandbox.state is SandboxState.RUNNING
    assert place.there == {str(sandbox.id)}


async def test_a_comet_counts_the_sandboxes_that_it_takes_over_and_only_while_they_are_there(book: Sandboxes) -> None:
    place = Place()
    place.may_make.set()
    place.may_tell.set()
    before = Node(max_memory_mb=300)
    making = Machines(book, {"namespace": place}, before.holds, node="one", tend_s=60)
    runs, stands, goes = [await making.create(NewSandbox(**NEW)) for _ in range(3)]
    with pytest.raises(QuotaExceeded):
        await making.create(NewSandbox(**NEW))
    assert (before.has, len(place.there)) == ((300, 3000), 3)
    await making.pause("a", "default", stands.id)
    await making.remove("a", "default", goes.id)
    assert before.has == (200, 1000)
    after = Node(max_memory_mb=100)  # a limit that was lowered ends no sandbox
    having = Machines(book, {"namespace": place}, after.holds, node="one", tend_s=0.001)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            await tasks.start(having.run)
            assert after.has == (200, 1000)
            with pytest.raises(QuotaExceeded):
                await having.create(NewSandbox(**NEW))
            place.there.discard(str(runs.id))  # it ended by itself
            while after.has != (100, 0):
                await anyio.sleep(0.001)
            resumed = await having.resume("a", "default", stands.id)
            assert (resumed.state, after.has) == (SandboxState.RUNNING, (100, 1000))
            await having.remove("a", "default", stands.id)
            assert after.has == (0, 0)
            tasks.cancel_scope.cancel()
    assert [each.id for each in (await book.list("a", "default")).items] == []


async def test_what_is_refused_or_fails_leaves_nothing_taken(book: Sandboxes) -> None:
    place = Place()
    place.may_tell.set()
    node = Node(max_cpu_millis=1000)
    having = Machines(book, {"namespace": place}, node.holds, node="one", tend_s=60)
    with anyio.move_on_after(0.2):
        await having.create(NewSandbox(**NEW))  # its place makes none: it is cut off
    assert (node.has, (await book.list("a", "default")).total) == ((0, 0), 0)
    place.may_make.set()
    first = await having.create(NewSandbox(**NEW))
    await having.pause("a", "default", first.id)
    await having.create(NewSandbox(**NEW))
    with pytest.raises(QuotaExceeded):
        await having.resume("a", "default", first.id)
    assert str(first.id) in place.paused
    assert node.has == (200, 1000)
