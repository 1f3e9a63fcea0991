"""Of the table's model: how many instances a tenant may have in all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict

from constellation.native.table_values import NEVER_NS, Detail, State, Status, TableOptions, TenantRow, Verdict
from constellation.testing.table_parts import ModelFunction, ModelMember
from constellation.testing.table_tenants import ModelTenant


class RoomModel(ABC):
    """What is there, and what of it each tenant may have."""

    options: TableOptions
    functions: list[ModelFunction]
    asking: list[ModelFunction]
    tenants: defaultdict[str, ModelTenant]

    @abstractmethod
    def bury(self, member: ModelMember) -> None: ...

    @property
    def members(self) -> list[ModelMember]:
        return sorted((m for f in self.functions for m in f.members), key=lambda m: m.number)

    def count(self, state: State) -> int:
        return sum(member.state is state for member in self.members)

    @abstractmethod
    def pump(self, grown: ModelFunction | None = None) -> None: ...

    def put_tenant(self, name: str, row: TenantRow | None) -> None:
        self.tenants[name].row = row
        self.trim(name)
        self.pump()

    def make_room(self) -> None:
        for function in self.asking:
            mine = self.of(function.row.tenant)
            idle = [member for member in mine if member.state is State.IDLE]
            is_dying = any(member.state is State.DEAD for member in mine)
            if function.boots_for_calls and self.lacks(function) and idle and not is_dying:
                self.bury(least_recently_used(idle))

    def must_yield(self, function: ModelFunction, member: ModelMember) -> bool:
        if member.state is not State.IDLE:
            return False
        is_full = len(self.members) >= self.options.max_instances and not self.count(State.DEAD)
        tenant = function.row.tenant
        is_dying = any(each.state is State.DEAD for each in self.of(tenant))
        mine_ns = function.line[0].since_ns if function.line else NEVER_NS
        return any(
            other is not function
            and other.current == 0
            and other.line
            and other.line[0].since_ns < mine_ns
            and (other.row.tenant == tenant and not is_dying if self.lacks(other) else is_full)
            for other in self.asking
        )

    def of(self, tenant: str) -> list[ModelMember]:
        return [member for member in self.members if member.function.row.tenant == tenant]

    def beyond(self, tenant: str, memory_mb: int, cpu_millis: int) -> Detail:
        row = self.tenants[tenant].row
        if row is not None and 0 < row.max_memory_mb < memory_mb:
            return Detail.MEMORY
        return Detail.CPU if row is not None and 0 < row.max_cpu_millis < cpu_millis else Detail.NONE

    def sums(self, tenant: str, members: list[ModelMember]) -> tuple[int, int]:
        memory_mb, cpu_millis = self.tenants[tenant].held
        return memory_mb + sum(m.memory_mb for m in members), cpu_millis + sum(m.cpu_millis for m in members)

    def lacks(self, function: ModelFunction, more: int = 1) -> Detail:
        row = function.row
        memory_mb, cpu_millis = self.sums(row.tenant, self.of(row.tenant))
        return self.beyond(row.tenant, memory_mb + more * row.memory_mb, cpu_millis + more * row.cpu_millis)

    def hold(self, tenant: str, memory_mb: int, cpu_millis: int, *, is_there: bool) -> Detail | Verdict:
        """Take so much; NONE, what there is too much of until idle members are gone, or the refusal."""
        model, before = self.tenants[tenant], self.tenants[tenant].held

        def lacks(*gone: State) -> Detail:
            sums = self.sums(tenant, [member for member in self.of(tenant) if member.state not in gone])
            return self.beyond(
                tenant, *(have if asked else 0 for have, asked in zip(sums, (memory_mb, cpu_millis), strict=True))
            )

        model.held = before[0] + memory_mb, before[1] + cpu_millis
        if is_there:
            self.trim(tenant)
        elif missing := lacks(State.DEAD, State.IDLE):
            model.held, row = before, model.row
            assert row is not None
            limit = row.max_memory_mb if missing is Detail.MEMORY else row.max_cpu_millis
            return Verdict(Status.QUOTA_EXCEEDED, detail=missing, retry_after_s=1, limit=limit)
        else:
            while lacks(State.DEAD):
                self.bury(least_recently_used([each for each in self.of(tenant) if each.state is State.IDLE]))
        self.pump()
        return lacks()

    def unhold(self, tenant: str, memory_mb: int, cpu_millis: int) -> None:
        model = self.tenants[tenant]
        model.held = model.held[0] - memory_mb, model.held[1] - cpu_millis
        self.pump()

    def room(self, function: ModelFunction) -> int:
        return next((more for more in range(self.options.max_instances) if self.lacks(function, more + 1)), 1 << 32)

    def trim(self, tenant: str) -> None:
        members = self.of(tenant)
        if not self.beyond(tenant, *self.sums(tenant, members)):
            return
        while True:
            held = [member for member in members if member.state not in (State.DEAD, State.DRAINING)]
            idle = [member for member in held if member.state is State.IDLE]
            busy = [member for member in held if member.state is State.BUSY]
            is_beyond = self.beyond(tenant, *self.sums(tenant, held))
            if not is_beyond or not (idle or busy):
                return
            if idle:
                self.bury(least_recently_used(idle))
                continue
            newest = max(busy, key=lambda member: member.number)
            if newest in newest.function.shelf:
                newest.function.shelf.remove(newest)
            newest.state = State.DRAINING


def least_recently_used(idle: list[ModelMember]) -> ModelMember:
    return min(idle, key=lambda m: (m.function.current <= m.function.kept_warm, m.idle_since_ns, m.number))
