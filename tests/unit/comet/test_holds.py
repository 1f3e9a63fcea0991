"""What sandboxes hold of their tenants' quotas, in a real table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import anyio
import pytest

from constellation.base.errors import NotFound
from constellation.comet.sandboxes.holds import Holds
from constellation.native.table import Table
from constellation.native.table_values import Ask, EffectKind, FunctionRow, State, Status, TableOptions, TenantRow
from constellation.nova.domain.quota import QuotaExceeded
from constellation.nova.domain.sandbox import OnIdle, Sandbox, SandboxState, Share, share_of

pytestmark = pytest.mark.anyio
ONE, TWO = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOX = Sandbox(
    tenant="acme", namespace="default", id=ONE, template="python", state=SandboxState.RUNNING, reason="", memory_mb=60,
    cpu_millis=500, disk_mb=40, processes=64, idle_timeout_s=0, on_idle=OnIdle.PAUSE, env={}, ports=(), forked_from=None,
    node="one", generation=1, created_at=NOW, used_at=NOW, expires_at=NOW, ended_at=None,
)  # fmt: skip


class Node:
    """A table with one tenant's limits, and its holds."""

    def __init__(self, **limits: int) -> None:
        self.table = Table(TableOptions(max_instances=4, max_boots=2, max_calls=8, idle_ttl_s=60.0, max_functions=4))
        self.table.open(is_open=True, now_ns=0)
        self.tenant = self.table.put_tenant("acme", TenantRow(**limits))
        self.holds = Holds(self, self.table)

    async def handle_of(self, tenant: str) -> int | None:
        await anyio.lowlevel.checkpoint()
        return self.tenant if tenant == "acme" else None

    @property
    def has(self) -> tuple[int, int]:
        stats = self.table.tenant_stats(self.tenant)
        return stats.memory_mb, stats.cpu_millis

    def idle_instance(self, memory_mb: int) -> int:
        """Return a member that has served one call."""
        row = FunctionRow(
            tenant="acme", namespace="n", name="f", max_payload_bytes=9, memory_mb=memory_mb, cpu_millis=100
        )
        call = self.table.admit(self.table.put_function(row, now_ns=0), Ask(1, "acme", "s"), now_ns=0)
        assert self.table.lease(call, deadline_ns=9, now_ns=0) is None
        boot = self.table.next_effect()
        assert boot is not None
        assert boot.kind is EffectKind.BOOT
        self.table.booted(boot.member, now_ns=0)
        self.table.end(call, Status.OK, is_broken=False, now_ns=0)
        assert self.table.member_state(boot.member) is State.IDLE
        return boot.member


async def test_each_gives_back_what_it_took_and_no_more():
    node = Node(max_memory_mb=250, max_cpu_millis=1000)
    full = share_of(BOX, SandboxState.RUNNING)
    await node.holds.take(ONE, "acme", full)
    await node.holds.take(ONE, "acme", full)  # it has that already
    await node.holds.take(TWO, "acme", full)
    assert node.has == (200, 1000)
    with pytest.raises(QuotaExceeded) as refused:
        await node.holds.take(UUID(int=3), "acme", full)
    assert refused.value.extras == {"dimension": "memory_mb", "used": 300, "limit": 250}
    assert refused.value.retry_after_s
    node.holds.drop_nowait(UUID(int=3))
    node.holds.lower_nowait(ONE, share_of(BOX, SandboxState.PAUSED))
    assert node.has == (200, 500)  # what stands still keeps its memory
    node.holds.drop_nowait(ONE)
    node.holds.drop_nowait(ONE)
    assert node.has == (100, 500)
    node.holds.drop_others_nowait({ONE})
    assert node.has == (0, 0)
    with pytest.raises(NotFound):
        await node.holds.take(ONE, "gone", full)


async def test_a_sandbox_resumes_only_while_there_is_cpu_for_it():
    node = Node(max_cpu_millis=700)
    paused, full = share_of(BOX, SandboxState.PAUSED), share_of(BOX, SandboxState.RUNNING)
    await node.holds.take(ONE, "acme", full)
    node.holds.lower_nowait(ONE, paused)
    await node.holds.take(TWO, "acme", full)
    with pytest.raises(QuotaExceeded) as refused:
        await node.holds.take(ONE, "acme", full)
    assert refused.value.extras == {"dimension": "vcpu_milli", "used": 1000, "limit": 700}
    assert node.has == (200, 500)  # it has what it had
    node.holds.drop_nowait(TWO)
    await node.holds.take(ONE, "acme", full)
    assert node.has == (100, 500)


async def test_it_waits_until_an_idle_instance_is_gone_and_gives_up_what_it_took_when_it_is_not():
    node = Node(max_memory_mb=150)
    member = node.idle_instance(100)
    with anyio.move_on_after(0.05) as cut:
        await node.holds.take(ONE, "acme", Share(100, 0))
    assert cut.cancelled_caught
    assert node.has == (100, 100)  # cancelled: what is left is the instance
    assert node.table.member_state(member) is State.DEAD
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.holds.take, ONE, "acme", Share(100, 0))
        await anyio.wait_all_tasks_blocked()
        assert node.has == (200, 100)
        node.table.gone(member, now_ns=0)
    assert node.has == (100, 0)


async def test_what_another_comet_made_is_counted_whatever_the_limits_are():
    node = Node(max_memory_mb=50)
    handles = await node.holds.handles(["acme", "gone", "acme"])
    assert handles == {"acme": node.tenant}
    assert not node.holds.has(BOX)
    node.holds.count_nowait(BOX, node.tenant)
    assert node.holds.has(BOX)
    assert node.has == (100, 500)
    paused = replace(BOX, state=SandboxState.PAUSED)
    assert not node.holds.has(paused)
    node.holds.count_nowait(paused, node.tenant)
    assert node.has == (100, 0)
    node.holds.count_nowait(BOX, node.tenant)
    assert node.has == (100, 500)
