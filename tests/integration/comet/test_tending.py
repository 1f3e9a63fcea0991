"""Sandboxes that are made while the others are tended: what the tending saw is old when it acts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from constellation.comet.sandboxes import machines
from constellation.comet.sandboxes.machines import Machines
from constellation.comet.sandboxes.wanted import Answer, Kept
from constellation.nova.config.sections import MachineSettings
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
        return Answer(kept=[Kept(id=each, is_paused=False) for each in self.there])

    async def remove(self, sandbox_id: str) -> None:
        self.there.discard(sandbox_id)


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
    having = Machines(book, {"namespace": place}, node="one", tend_s=0.001)
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
