from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest

from constellation.base.errors import AlreadyExists, NotFound, StateConflict, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.access import ApiKey, Role
from constellation.nova.domain.function import Function
from constellation.nova.domain.job import NewJob
from constellation.nova.domain.tenancy import TenantStatus
from constellation.nova.store.api_keys import ApiKeys, insert_first, new_api_key
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import Completion, Jobs
from constellation.nova.store.pool import Database
from constellation.nova.store.tenancy import Tenancy

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def fill(db: Database, tenant: str, namespace: str) -> None:
    """Give a namespace one of everything."""
    function = Function(tenant=tenant, namespace=namespace, name="f", id=uuid7(), runtime="python", handler="h")
    await Functions(db).create(function, {"a": b"1"})
    jobs = Jobs(db)
    new = NewJob(tenant=tenant, namespace=namespace, function_name="f", payload=b"1", subject="s")
    await jobs.enqueue(new)
    claims = await jobs.claim(owner="w", lease_s=60, limit=10)
    await jobs.complete([Completion(claim=c, request_id=uuid7(), output=b"1", duration_ms=1) for c in claims])
    await jobs.enqueue(replace(new, idempotency_key="k"))
    await ApiKeys(db).create(
        ApiKey(tenant=tenant, namespace=namespace, name=f"key-{namespace}", role=Role.VIEWER),
        key_hash=bytes(uuid7().bytes * 2),
    )


async def leftovers(db: Database, tenant: str) -> dict[str, int]:
    tables = ("namespaces", "api_keys", "functions", "function_files", "jobs", "job_keys", "jobs_done")
    return {table: await db.fetch_value(f"SELECT count(*) FROM {table} WHERE tenant = $1", tenant) for table in tables}


async def test_a_tenant_begins_with_its_default_namespace(db: Database) -> None:
    tenancy = Tenancy(db)
    created = await tenancy.create_tenant("acme", name="Acme")
    assert created == await tenancy.get_tenant("acme")
    assert created.status is TenantStatus.ACTIVE
    assert [item.name for item in (await tenancy.list_namespaces("acme")).items] == ["default"]
    with pytest.raises(AlreadyExists):
        await tenancy.create_tenant("acme")
    assert [item.id for item in (await tenancy.list_tenants()).items] == ["acme", "default"]


async def test_a_tenant_is_suspended_over_the_row_that_was_read(db: Database) -> None:
    tenancy = Tenancy(db)
    read = await tenancy.create_tenant("acme")
    suspended = await tenancy.update_tenant(replace(read, status=TenantStatus.SUSPENDED))
    assert (suspended.status, suspended.version) == (TenantStatus.SUSPENDED, 2)
    with pytest.raises(VersionConflict):
        await tenancy.update_tenant(read)
    with pytest.raises(NotFound):
        await tenancy.update_tenant(replace(read, id="absent"))


async def test_deleting_a_tenant_leaves_nothing_of_it_and_all_of_others(db: Database) -> None:
    tenancy = Tenancy(db)
    for tenant in ("acme", "other"):
        await tenancy.create_tenant(tenant)
        await fill(db, tenant, "default")
    before = await leftovers(db, "other")
    await tenancy.delete_tenant("acme")
    assert set((await leftovers(db, "acme")).values()) == {0}
    assert await leftovers(db, "other") == before
    with pytest.raises(NotFound):
        await tenancy.delete_tenant("acme")
    with pytest.raises(StateConflict):
        await tenancy.delete_tenant("default")


async def test_deleting_a_namespace_spares_its_siblings(db: Database) -> None:
    tenancy = Tenancy(db)
    await tenancy.create_tenant("acme")
    await tenancy.create_namespace("acme", "prod")
    with pytest.raises(AlreadyExists):
        await tenancy.create_namespace("acme", "prod")
    with pytest.raises(NotFound):
        await tenancy.create_namespace("absent", "prod")
    await fill(db, "acme", "default")
    await fill(db, "acme", "prod")
    await tenancy.delete_namespace("acme", "default")
    assert set((await leftovers(db, "acme")).values()) == {1}
    with pytest.raises(NotFound):
        await tenancy.get_namespace("acme", "default")
    with pytest.raises(StateConflict):
        await tenancy.delete_namespace("acme", "prod")
    assert (await tenancy.get_namespace("acme", "prod")).name == "prod"


async def test_the_default_namespace_and_a_last_one_stay(db: Database) -> None:
    tenancy = Tenancy(db)
    await tenancy.create_namespace("default", "second")
    with pytest.raises(StateConflict):
        await tenancy.delete_namespace("default", "default")
    with pytest.raises(NotFound):
        await tenancy.delete_namespace("default", "absent")
    await tenancy.create_tenant("acme")
    await tenancy.create_namespace("acme", "second")
    outcomes: list[str] = []

    async def delete(name: str) -> None:
        try:
            await tenancy.delete_namespace("acme", name)
        except StateConflict:
            outcomes.append("kept")
        else:
            outcomes.append("deleted")

    async with anyio.create_task_group() as tg:
        tg.start_soon(delete, "default")
        tg.start_soon(delete, "second")
    assert sorted(outcomes) == ["deleted", "kept"]


async def test_a_key_is_found_by_its_hash_only(db: Database) -> None:
    keys = ApiKeys(db)
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    new = ApiKey(tenant="default", namespace="*", name="ci", role=Role.OPERATOR, expires_at=expires_at, rate_per_s=2.5)
    created = await keys.create(new, key_hash=b"h" * 32)
    assert created == await keys.try_get_by_hash(b"h" * 32) == await keys.get("default", "ci")
    assert await keys.try_get_by_hash(b"x" * 32) is None
    with pytest.raises(AlreadyExists):
        await keys.create(new, key_hash=b"i" * 32)
    with pytest.raises(NotFound):
        await keys.create(replace(new, tenant="absent"), key_hash=b"j" * 32)
    disabled = await keys.update(replace(created, enabled=False, role=Role.VIEWER, rate_per_s=7.0, burst=9))
    assert (disabled.enabled, disabled.role, disabled.version) == (False, Role.VIEWER, 2)
    assert (created.rate_per_s, created.burst, disabled.rate_per_s, disabled.burst) == (2.5, 0, 7.0, 9)
    with pytest.raises(VersionConflict):
        await keys.update(created)
    assert (await keys.list("default")).items == (disabled,)
    assert (await keys.list("default", namespace="other")).total == 0
    await keys.delete("default", "ci")
    with pytest.raises(NotFound):
        await keys.delete("default", "ci")
    with pytest.raises(NotFound):
        await keys.update(disabled)


async def test_only_one_of_many_makes_the_first_key(db: Database) -> None:
    keys = ApiKeys(db)
    made: list[ApiKey] = []

    async def create(number: int) -> None:
        new = ApiKey(tenant="default", namespace="*", name=f"k{number}", role=Role.ADMIN, is_platform=True)
        async with db.transaction() as tx:
            if await insert_first(tx, new, key_hash=bytes([number]) * 32):
                made.append(new)

    async with anyio.create_task_group() as tg:
        for number in range(6):
            tg.start_soon(create, number)
    assert len(made) == 1
    assert (await keys.list("default")).total == 1


def test_api_keys_are_long_and_never_alike() -> None:
    keys = {new_api_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("sk_")
        assert len(key) == 43
        assert key[3:].isalnum()
