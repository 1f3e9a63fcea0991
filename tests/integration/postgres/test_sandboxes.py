from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import anyio
import pytest

from constellation.base.errors import NotFound, StateConflict
from constellation.nova.config.sections import MachineSettings
from constellation.nova.domain.sandbox import OnIdle, SandboxState
from constellation.nova.domain.tenancy import TenantStatus
from constellation.nova.store.pool import Database, connect
from constellation.nova.store.sandboxes import MAX_PORTS, NewSandbox, Sandboxes, SandboxLimit
from constellation.nova.store.tenancy import Tenancy
from constellation.testing.database import FreshDatabase

LIMITS = MachineSettings(max_per_tenant=3, memory_per_tenant_bytes=1000 << 20)

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@dataclass
class Rig:
    db: Database
    book: Sandboxes
    tenancy: Tenancy

    def of(self, node: str) -> Sandboxes:
        return Sandboxes(self.db, node=node, limits=lambda _tenant: LIMITS)


@pytest.fixture
async def rig(database: FreshDatabase) -> AsyncIterator[Rig]:
    async with (
        connect(database.dsn("comet"), application="comet", max_size=8) as db,
        connect(database.dsn("nova"), application="nova", max_size=2) as nova,
    ):
        tenancy = Tenancy(nova)
        for tenant in ("a", "b"):
            await tenancy.create_tenant(tenant, name="")
        yield Rig(db=db, book=Sandboxes(db, node="one", limits=lambda _tenant: LIMITS), tenancy=tenancy)


def new(tenant: str = "a", **more: Any) -> NewSandbox:
    settings = {
        "namespace": "default", "template": "python", "memory_mb": 64, "cpu_millis": 1000, "disk_mb": 36,
        "processes": 64, "ttl_s": 60.0, "idle_timeout_s": 0.0, "on_idle": OnIdle.PAUSE, "env": {"A": "ü"},
    }  # fmt: skip
    return NewSandbox(tenant=tenant, **{**settings, **more})


async def test_a_row_is_what_was_wanted_and_its_scope_s_alone(rig: Rig) -> None:
    made = await rig.book.insert(new(ports=(80,)))
    assert (made.state, made.env, made.ports, made.node) == (SandboxState.CREATING, {"A": "ü"}, (80,), "one")
    assert await rig.book.get("a", "default", made.id) == made
    for tenant, namespace in (("b", "default"), ("a", "other")):
        with pytest.raises(NotFound):
            await rig.book.get(tenant, namespace, made.id)
        with pytest.raises(NotFound):
            await rig.book.extend(tenant, namespace, made.id, ttl_s=1.0, idle_timeout_s=None)
        with pytest.raises(NotFound):
            await rig.book.expose(tenant, namespace, made.id, 80)
        with pytest.raises(NotFound):
            await rig.book.close_port(tenant, namespace, made.id, 80)
        assert (await rig.book.list(tenant, namespace)).items == ()
    with pytest.raises(NotFound):
        await rig.book.insert(new(namespace="nowhere"))


async def test_of_many_at_once_as_many_are_made_as_the_tenant_may_have(rig: Rig) -> None:
    outcomes: list[str] = []

    async def make() -> None:
        try:
            await rig.book.insert(new())
            outcomes.append("made")
        except SandboxLimit:
            outcomes.append("refused")

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(make)
    assert sorted(outcomes) == ["made"] * 3 + ["refused"] * 5
    assert await rig.book.insert(new("b")), "another tenant has its own"
    with pytest.raises(SandboxLimit):
        await rig.book.insert(new("b", memory_mb=900))
    one = (await rig.book.list("a", "default")).items[0]
    await rig.book.move(one, SandboxState.ENDED, reason="x")
    assert await rig.book.insert(new()), "what ended counts no more"


async def test_states_are_left_as_the_machine_says_and_by_one_alone(rig: Rig) -> None:
    made = await rig.book.insert(new())
    with pytest.raises(StateConflict):
        await rig.book.move(made, SandboxState.PAUSED)
    running = await rig.book.move(made, SandboxState.RUNNING)
    paused = await rig.book.move(running, SandboxState.PAUSED, reason="idle")
    with pytest.raises(StateConflict):
        await rig.book.move(running, SandboxState.PAUSED)
    ended = await rig.book.move(paused, SandboxState.ENDED, reason="removed")
    assert ended.ended_at is not None
    for state in (SandboxState.RUNNING, SandboxState.ENDING, SandboxState.ENDED):
        with pytest.raises(StateConflict):
            await rig.book.move(ended, state)
    assert (await rig.book.list("a", "default")).items == ()
    assert [each.id for each in (await rig.book.list("a", "default", state=SandboxState.ENDED)).items] == [made.id]


async def test_a_comet_whose_sandboxes_were_taken_over_writes_nothing(rig: Rig) -> None:
    made = await rig.book.move(await rig.book.insert(new()), SandboxState.RUNNING)
    other = await rig.of("two").insert(new())
    adopted = await rig.book.adopt()
    assert [(each.id, each.generation) for each in adopted] == [(made.id, made.generation + 1)]
    with pytest.raises(StateConflict):
        await rig.book.move(made, SandboxState.ENDED)
    assert (await rig.book.move(adopted[0], SandboxState.PAUSED)).state is SandboxState.PAUSED
    assert [each.id for each in await rig.of("two").of_node()] == [other.id]


async def test_time_and_use_are_written(rig: Rig) -> None:
    made = await rig.book.insert(new())
    later = await rig.book.extend("a", "default", made.id, ttl_s=600.0, idle_timeout_s=5.0)
    assert later.expires_at > made.expires_at
    assert later.idle_timeout_s == 5.0
    same = await rig.book.extend("a", "default", made.id, ttl_s=None, idle_timeout_s=None)
    assert (same.expires_at, same.idle_timeout_s) == (later.expires_at, 5.0)
    now = await rig.book.now()
    await rig.book.note_used({made.id: now, uuid4(): now})
    assert (await rig.book.get("a", "default", made.id)).used_at == now
    await rig.of("two").note_used({made.id: later.expires_at})
    assert (await rig.book.get("a", "default", made.id)).used_at == now, "another node's"


async def test_ports_are_few_and_each_once(rig: Rig) -> None:
    made = await rig.book.insert(new())
    for port in range(1, MAX_PORTS + 1):
        await rig.book.expose("a", "default", made.id, port)
    assert len((await rig.book.expose("a", "default", made.id, 1)).ports) == MAX_PORTS
    with pytest.raises(SandboxLimit):
        await rig.book.expose("a", "default", made.id, 99)
    assert 1 not in (await rig.book.close_port("a", "default", made.id, 1)).ports


async def test_what_ended_is_forgotten_and_a_deleted_tenant_takes_its_rows_along(rig: Rig) -> None:
    made = await rig.book.insert(new())
    await rig.book.move(made, SandboxState.ENDED)
    await rig.book.forget(ended_s=60.0)
    assert await rig.book.get("a", "default", made.id)
    await rig.book.forget(ended_s=0.0)
    with pytest.raises(NotFound):
        await rig.book.get("a", "default", made.id)
    await rig.book.insert(new("b"))
    await rig.tenancy.delete_tenant("b")
    assert await rig.book.of_node() == ()


async def test_a_node_knows_which_of_its_sandboxes_are_of_suspended_tenants(rig: Rig) -> None:
    of_a, of_b = await rig.book.insert(new("a")), await rig.book.insert(new("b"))
    await rig.of("two").insert(new("a"))
    assert await rig.book.suspended() == frozenset()
    await rig.tenancy.update_tenant(replace(await rig.tenancy.get_tenant("a"), status=TenantStatus.SUSPENDED))
    assert await rig.book.suspended() == {of_a.id}
    await rig.book.move(await rig.book.move(of_a, SandboxState.ENDING), SandboxState.ENDED)
    assert await rig.book.suspended() == frozenset()
    assert (await rig.book.get("b", "default", of_b.id)).state is SandboxState.CREATING
