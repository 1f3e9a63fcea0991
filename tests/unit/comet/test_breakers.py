"""Breakers that open are told of once, until they were closed again."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import UUID

import pytest

from constellation.base.clock import SystemClock
from constellation.base.errors import Unavailable
from constellation.comet.breakers import BreakerWatch
from constellation.native.table_values import Breaker
from constellation.nova.domain.function import CapacityPolicy, Function

pytestmark = pytest.mark.anyio

ID = UUID("0190a0a0-0000-7000-8000-000000000000")


@dataclass
class Table:
    state: Breaker = Breaker.CLOSED

    def stats(self, _handle: object) -> SimpleNamespace:
        return SimpleNamespace(breaker=self.state)


class Pool:
    def served(self, _function_id: UUID, _pin: int = 0) -> SimpleNamespace:
        return SimpleNamespace(handle=1)


@dataclass
class Outbox:
    told: list[tuple[str, ...]] = field(default_factory=list)
    is_away: bool = False

    async def tell(self, *facts: str) -> None:
        if self.is_away:
            raise Unavailable("database", reason="test")
        self.told.append(facts)


def function(percent: int = 50) -> Function:
    return Function(
        id=ID, tenant="acme", namespace="prod", name="pay", runtime="python", handler="h.handler",
        capacity=CapacityPolicy(breaker_error_percent=percent),
    )  # fmt: skip


def watch(table: Table, outbox: Outbox) -> BreakerWatch:
    return BreakerWatch(table, Pool(), outbox, clock=SystemClock())  # type: ignore[arg-type]  # what it needs of them


async def test_one_that_opens_is_told_once_until_it_closed():
    table, outbox = Table(), Outbox()
    watched = watch(table, outbox)
    watched.update(function(), is_suspended=False)
    for state, count in (
        (Breaker.CLOSED, 0), (Breaker.OPEN, 1), (Breaker.HALF_OPEN, 1), (Breaker.OPEN, 1), (Breaker.CLOSED, 1),
        (Breaker.OPEN, 2),
    ):  # fmt: skip
        table.state = state
        await watched.look()
        assert len(outbox.told) == count, state
    assert outbox.told[0][:4] == ("acme", "prod", "breaker_opened", "pay")


async def test_what_could_not_be_told_is_told_at_the_next_look():
    table, outbox = Table(Breaker.OPEN), Outbox(is_away=True)
    watched = watch(table, outbox)
    watched.update(function(), is_suspended=False)
    with pytest.raises(Unavailable):
        await watched.look()
    outbox.is_away = False
    await watched.look()
    assert len(outbox.told) == 1


async def test_functions_without_a_breaker_and_those_that_are_gone_are_not_looked_at():
    table, outbox = Table(Breaker.OPEN), Outbox()
    watched = watch(table, outbox)
    watched.update(function(0), is_suspended=False)
    watched.update(function(), is_suspended=False)
    watched.remove(ID)
    await watched.look()
    assert outbox.told == []
