"""What the comets of a platform say that they can, and what is refused because none can."""

from __future__ import annotations

import pytest

from constellation.nova.store.executors import BackendAbility, Executors
from constellation.nova.store.pool import Database

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def able(name: str = "namespace", *, why_not: str = "", is_available: bool = True) -> BackendAbility:
    return BackendAbility(name=name, is_available=is_available, egress_reason=why_not)


async def test_nothing_is_refused_before_a_comet_has_said_anything(db: Database) -> None:
    assert await Executors(db).egress_refusal("auto") == ""


async def test_a_network_is_refused_where_no_comet_can_give_one(db: Database) -> None:
    executors = Executors(db)
    await executors.tell("a", [able(why_not="it needs root"), able("docker", why_not="containers have none")])
    assert await executors.egress_refusal("namespace") == "it needs root"
    assert await executors.egress_refusal("docker") == "containers have none"
    assert await executors.egress_refusal("auto") in ("it needs root", "containers have none")
    await executors.tell("b", [able(), able("docker", why_not="containers have none")])
    assert await executors.egress_refusal("namespace") == ""
    assert await executors.egress_refusal("auto") == ""
    assert await executors.egress_refusal("docker") == "containers have none"


async def test_what_a_comet_says_later_counts_instead(db: Database) -> None:
    executors = Executors(db)
    await executors.tell("a", [able()])
    await executors.tell("a", [able(why_not="nftables is not there")])
    assert await executors.egress_refusal("auto") == "nftables is not there"


async def test_auto_does_not_count_on_what_can_not_run(db: Database) -> None:
    executors = Executors(db)
    await executors.tell("a", [able(why_not="it needs root"), able("other", is_available=False)])
    assert await executors.egress_refusal("auto") == "it needs root"
