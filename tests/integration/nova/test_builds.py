"""Code that must be built: what a deploy writes, what the API shows of it, and what stays live meanwhile."""

from __future__ import annotations

from base64 import b64encode
from uuid import UUID

import pytest

from constellation.nova.store.builds import Builds, Made
from constellation.nova.store.functions import KEPT_UNUSED_CODE

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

CODE = "def handler(event, context):\n    return 1\n"


def files(text: str = "", *, is_built: bool = True) -> dict[str, str]:
    found = {"main.py": CODE + text, "other.py": CODE} | ({"build.sh": "true"} if is_built else {})
    return {name: b64encode(content.encode()).decode() for name, content in found.items()}


async def create(nova, name="f", **more):
    body = {"name": name, "runtime": "python", "files": files(), **more}
    return await nova.http.post("/functions", json=body, headers=nova.admin())


async def patch(nova, **changes):
    answer = await nova.http.patch("/functions/f", json=changes, headers=nova.admin())
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(nova, path="/functions/f"):
    return (await nova.http.get(path, headers=nova.admin())).json()


async def settle(db, *, error: str | None = None) -> None:
    """Do a worker's work on whatever is in line."""
    builds = Builds(db)
    for claim in await builds.claim(owner="test", lease_s=60.0, limit=10):
        if error is not None:
            assert await builds.fail(claim, error)
            continue
        digest = f"{claim.build.code_version:064x}"
        async with db.transaction() as tx:
            await tx.execute(
                "INSERT INTO artifacts (tenant, hash, size_bytes, parts) VALUES ('default', $1, 0, 0) "
                "ON CONFLICT DO NOTHING",
                digest,
            )
        assert await builds.succeed(claim, Made(artifact=digest, cache_key="k", is_cached=False))


async def test_a_function_shows_its_build_from_line_to_live(nova, db):
    created = await create(nova)
    assert created.status_code == 201
    body = created.json()
    assert (body["code_version"], body["pending_version"], body["build"]["state"]) == (0, 1, "pending")
    assert (await get(nova))["build"] == body["build"]
    assert (await get(nova, "/functions"))["items"][0]["build"]["id"] == body["build"]["id"]
    seq = await db.fetch_value("SELECT max(seq) FROM changes")
    await settle(db)
    shown = await get(nova)
    assert (shown["code_version"], shown["pending_version"]) == (1, None)
    assert shown["build"] == {"id": body["build"]["id"], "state": "success", "error": None}
    assert shown["code_hash"] == (await get(nova, "/functions/f/code"))["code_hash"]
    rows = await db.fetch("SELECT kind, name FROM changes WHERE seq > $1", seq)
    assert [(row["kind"], row["name"]) for row in rows] == [("function", "f")]


async def test_what_needs_no_build_is_live_at_once_and_shows_none(nova):
    body = (await create(nova, files=files(is_built=False))).json()
    assert (body["code_version"], body["pending_version"], body["build"]) == (1, None, None)


async def test_the_live_code_and_handler_stay_until_the_new_ones_are_built(nova, db):
    await create(nova)
    await settle(db)
    changed = await patch(nova, files=files("# 2\n"), handler="other.handler", memory_mb=256)
    assert (changed["code_version"], changed["handler"], changed["memory_mb"]) == (1, "main.handler", 256)
    assert (changed["pending_version"], changed["build"]["state"]) == (2, "pending")
    assert (await get(nova, "/functions/f/code"))["code_version"] == 2
    await patch(nova, description="no other code")
    await settle(db)
    shown = await get(nova)
    assert (shown["code_version"], shown["handler"], shown["pending_version"]) == (2, "other.handler", None)


async def test_a_failed_build_leaves_the_live_code_and_is_told(nova, db):
    await create(nova)
    await settle(db)
    await patch(nova, files=files("# 2\n"))
    await settle(db, error="main.go:1:\n" + "x\n" * 2000)
    shown = await get(nova)
    assert (shown["code_version"], shown["pending_version"], shown["build"]["state"]) == (1, 2, "failed")
    assert shown["build"]["error"].startswith("main.go:1:")
    error = await db.fetch_value("SELECT pending_error FROM functions")
    assert error == "main.go:1:\nx\nx\nx\nx"  # what callers are told is its beginning


async def test_the_same_sources_again_change_nothing_but_another_handler_builds_them_anew(nova, db):
    await create(nova)
    again = await patch(nova, files=files())
    assert (again["pending_version"], again["build"]["state"]) == (1, "pending")
    other = await patch(nova, handler="other.handler")
    assert (other["pending_version"], other["handler"]) == (2, "main.handler")
    same = await patch(nova, handler="other.handler")
    assert same["pending_version"] == 2
    await settle(db)
    assert (await get(nova))["handler"] == "other.handler"
    states = await db.fetch("SELECT state, error FROM builds ORDER BY id")
    assert [(row["state"], row["error"]) for row in states] == [
        ("cancelled", "superseded by version 2"),
        ("success", None),
    ]


async def test_code_that_needs_no_build_overtakes_one_that_waits(nova, db):
    await create(nova)
    builds = Builds(db)
    (claim,) = await builds.claim(owner="test", lease_s=60.0, limit=1)
    plain = await patch(nova, files=files(is_built=False))
    assert (plain["code_version"], plain["pending_version"], plain["build"]) == (2, None, None)
    async with db.transaction() as tx:
        await tx.execute(
            "INSERT INTO artifacts (tenant, hash, size_bytes, parts) VALUES ('default', $1, 0, 0)", "a" * 64
        )
    assert not await builds.succeed(claim, Made(artifact="a" * 64, cache_key="k", is_cached=False))
    shown = await get(nova)
    assert (shown["code_version"], shown["build"]) == (2, None)
    assert (await db.fetch_value("SELECT artifact FROM function_code WHERE version = 1")) is None


async def test_the_live_version_outlives_any_number_of_failed_ones(nova, db):
    await create(nova)
    await settle(db)
    for number in range(KEPT_UNUSED_CODE + 2):
        await patch(nova, files=files(f"# {number}\n"))
        await settle(db, error="no")
    versions = [row["version"] for row in await db.fetch("SELECT version FROM function_code ORDER BY version")]
    assert versions[0] == 1
    assert len(versions) == KEPT_UNUSED_CODE + 1
    assert (await get(nova))["code_version"] == 1


async def test_a_full_line_refuses_the_deploy_whole(nova, db):
    for name in ("a", "b"):
        assert (await create(nova, name)).status_code == 201
    refused = await create(nova, "c")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
        429,
        "build_queue_full",
        "5",
    )
    assert await db.fetch_value("SELECT count(*) FROM functions WHERE name = 'c'") == 0
    newer = {"files": files("# newer\n")}  # takes the place of the one that it ends
    assert (await nova.http.patch("/functions/a", json=newer, headers=nova.admin())).status_code == 200


async def test_what_belongs_to_a_tenant_goes_with_it(nova, db):
    answer = await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())
    assert answer.status_code == 201, answer.text
    body = {"name": "f", "runtime": "python", "files": files()}
    created = await nova.http.post("/functions", json=body, headers=nova.admin("acme"))
    assert UUID(created.json()["build"]["id"])
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO artifacts (tenant, hash, size_bytes, parts) VALUES ('acme', $1, 1, 1)", "a" * 64)
        await tx.execute("INSERT INTO artifact_parts VALUES ('acme', $1, 0, 'x')", "a" * 64)
        await tx.execute("UPDATE function_code SET artifact = $1", "a" * 64)
    assert (await nova.http.delete("/tenants/acme", headers=nova.admin())).status_code == 200
    for table in ("builds", "artifacts", "artifact_parts", "function_code"):
        assert await db.fetch_value(f"SELECT count(*) FROM {table} WHERE tenant = 'acme'") == 0
