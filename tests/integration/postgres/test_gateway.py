from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from constellation.base.errors import AlreadyExists, ConstellationError, NotFound, StateConflict, VersionConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.domain.gateway import Auth, GatewayRoute
from constellation.nova.domain.path_template import path_template
from constellation.nova.store.changes import Changes
from constellation.nova.store.functions import Functions
from constellation.nova.store.gateway import Domains
from constellation.nova.store.pool import Database
from constellation.nova.store.tenancy import Tenancy

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

HERE = ("default", "default")


@pytest.fixture
async def domains(db: Database) -> Domains:
    await Tenancy(db).create_tenant("acme")
    await Tenancy(db).create_namespace("default", "second")
    for tenant in ("default", "acme"):
        function = Function(tenant=tenant, namespace="default", name="f", id=uuid7(), runtime="python", handler="h")
        await Functions(db).create(function, {})
    return Domains(db)


async def route(domains: Domains, path: str = "/a", methods: tuple[str, ...] = (), **more: object) -> GatewayRoute:
    whole: dict[str, object] = {
        "tenant": "default", "namespace": "default", "host": "a.example.org", "path": path,
        "shape": path_template(path).shape, "methods": methods, "function_name": "f", "auth": Auth.NONE, "enabled": True,
    }  # fmt: skip
    return await domains.create_route(**whole | more)  # type: ignore[arg-type]


async def test_a_domain_is_claimed_and_given_up(domains: Domains) -> None:
    made = await domains.create(*HERE, "a.example.org")
    assert await domains.get(*HERE, "a.example.org") == made
    await domains.create(*HERE, "b.example.org")
    page = await domains.list(*HERE, limit=1)
    assert (page.items, page.total, page.has_more) == ((made,), 2, True)
    with pytest.raises(AlreadyExists):
        await domains.create(*HERE, "a.example.org")
    with pytest.raises(NotFound):
        await domains.delete("acme", "default", "a.example.org")
    await domains.delete(*HERE, "a.example.org")
    with pytest.raises(NotFound):
        await domains.get(*HERE, "a.example.org")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.example.org", "a.example.org"),
        ("a.example.org", "*.example.org"),
        ("*.example.org", "a.example.org"),
        ("*.example.org", "*.example.org"),
    ],
)
async def test_a_host_is_one_tenants_with_all_that_covers_it(domains: Domains, first: str, second: str) -> None:
    await domains.create("acme", "default", first)
    with pytest.raises(StateConflict):
        await domains.create(*HERE, second)
    for other in ("b.a.example.org", "example.org", "*.a.example.org", "b.example.net"):
        await domains.create(*HERE, other)


async def test_a_tenant_may_have_a_host_beside_its_wildcard_but_not_twice(domains: Domains) -> None:
    await domains.create(*HERE, "*.example.org")
    await domains.create("default", "second", "a.example.org")
    with pytest.raises(StateConflict, match="namespace"):
        await domains.create("default", "second", "*.example.org")


async def test_of_two_claims_at_once_one_wins(domains: Domains) -> None:
    outcomes: list[str] = []

    async def claim(tenant: str, host: str) -> None:
        try:
            await domains.create(tenant, "default", host)
            outcomes.append("won")
        except StateConflict:
            outcomes.append("lost")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, "default", "*.example.org")
        tasks.start_soon(claim, "acme", "a.example.org")
    assert sorted(outcomes) == ["lost", "won"]


async def test_a_route_is_written_read_changed_and_deleted(domains: Domains) -> None:
    await domains.create(*HERE, "a.example.org")
    made = await route(domains, "/users/{id}", ("GET",))
    assert await domains.get_route(*HERE, made.id) == made
    changed = await domains.update_route(replace(made, methods=("GET", "POST"), auth=Auth.ANY, enabled=False))
    assert (changed.methods, changed.auth, changed.enabled, changed.version) == (("GET", "POST"), Auth.ANY, False, 2)
    with pytest.raises(VersionConflict):
        await domains.update_route(made)
    with pytest.raises(NotFound):
        await domains.update_route(replace(changed, function_name="absent"))
    with pytest.raises(NotFound):
        await domains.get_route("acme", "default", made.id)
    await domains.delete_route(*HERE, made.id)
    for gone in (domains.delete_route(*HERE, made.id), domains.update_route(changed)):
        with pytest.raises(NotFound):
            await gone


async def test_routes_of_a_domain_do_not_meet(domains: Domains) -> None:
    await domains.create(*HERE, "a.example.org")
    await domains.create(*HERE, "b.example.org")
    made = await route(domains, "/users/{id}", ("GET", "PUT"))
    for methods in (("GET",), ("POST", "PUT")):
        with pytest.raises(AlreadyExists):
            await route(domains, "/users/{name}", methods)
    post = await route(domains, "/users/{name}", ("POST",))
    await route(domains, "/users/{any}")  # whatever the others do not take
    with pytest.raises(AlreadyExists):
        await route(domains, "/users/{once_more}")
    await route(domains, "/users/{id}", ("GET",), host="b.example.org")
    with pytest.raises(AlreadyExists):
        await domains.update_route(replace(post, methods=("PUT",)))
    assert (await domains.update_route(replace(made, path="/users/{key}"))).path == "/users/{key}"
    page = await domains.list_routes(*HERE, host="a.example.org", limit=2)
    assert (len(page.items), page.total) == (2, 3)
    assert (await domains.list_routes(*HERE, function_name="f")).total == 4
    assert (await domains.list_routes("acme", "default")).total == 0


@pytest.mark.parametrize("wrong", [{"host": "b.example.org"}, {"function_name": "g"}, {"namespace": "second"}])
async def test_a_route_needs_its_domain_and_function(domains: Domains, wrong: dict[str, object]) -> None:
    await domains.create(*HERE, "a.example.org")
    with pytest.raises(NotFound):
        await route(domains, **wrong)


async def test_what_belongs_to_a_route_takes_it_along_and_no_other_tenants(db: Database, domains: Domains) -> None:
    await domains.create(*HERE, "a.example.org")
    await domains.create("acme", "default", "b.example.org")
    await route(domains)
    await route(domains, tenant="acme", host="b.example.org")
    await Functions(db).delete(*HERE, "f")
    assert (await domains.list_routes(*HERE)).total == 0
    assert (await domains.list_routes("acme", "default")).total == 1
    await Tenancy(db).delete_tenant("acme")
    assert await domains.served_at("b.example.org") is None
    await domains.create(*HERE, "b.example.org")


async def test_gateways_read_enabled_routes_and_each_change_is_told(db: Database, domains: Domains) -> None:
    seq = await Changes(db).head()
    await domains.create(*HERE, "b.example.org")
    await domains.create(*HERE, "a.example.org")
    made = await route(domains)
    await route(domains, "/off", enabled=False)
    served = await domains.served_at("a.example.org")
    assert served is not None
    assert (served.routes, served.is_suspended, served.domain.host) == ((made,), False, "a.example.org")
    assert [each.domain.host for each in await domains.served_after("", limit=10)] == ["a.example.org", "b.example.org"]
    assert [each.domain.host for each in await domains.served_after("a.example.org", limit=10)] == ["b.example.org"]
    await domains.delete(*HERE, "a.example.org")
    told = [(each.kind.value, each.name) for each in await Changes(db).after(seq)]
    assert told == [("domain", "b.example.org"), *[("domain", "a.example.org")] * 6]


async def test_a_suspended_tenant_is_told_of(db: Database, domains: Domains) -> None:
    await domains.create("acme", "default", "a.example.org")
    tenancy = Tenancy(db)
    tenant = await tenancy.get_tenant("acme")
    await tenancy.update_tenant(replace(tenant, status=type(tenant.status)("suspended")))
    served = await domains.served_at("a.example.org")
    assert served is not None
    assert served.is_suspended


async def test_there_is_an_end_to_domains_and_routes(domains: Domains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("constellation.nova.store.gateway.MAX_DOMAINS", 1)
    monkeypatch.setattr("constellation.nova.store.gateway.MAX_ROUTES", 1)
    await domains.create(*HERE, "a.example.org")
    await route(domains)
    refused: list[ConstellationError] = []
    for attempt in (domains.create("default", "second", "b.example.org"), route(domains, "/b")):
        with pytest.raises(StateConflict) as caught:
            await attempt
        refused.append(caught.value)
    assert len(refused) == 2
