"""Secrets over HTTP and in the database: kept, replaced, used, refused, rotated; values go to executors alone."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from constellation.nova.secrets.keyring import keyring_of, new_keyring
from constellation.nova.secrets.vault import KEY_FILE, MasterKeyMismatch, Vault, open_vault
from constellation.nova.store.pool import connect
from constellation.nova.store.secrets import Secrets
from constellation.nova.store.tenancy import Tenancy

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PLANTED = "pl4nted-value-that-nobody-may-see"


async def resolved(nova, names, headers):
    return await nova.http.post("/internal/secrets/resolve", json={"names": names}, headers=headers)


async def test_a_secret_is_kept_replaced_listed_and_deleted_without_its_value(nova):
    admin = nova.admin()
    made = await nova.http.post("/secrets", json={"name": "db", "value": PLANTED}, headers=admin)
    assert made.status_code == 201, made.text
    again = await nova.http.post("/secrets", json={"name": "db", "value": PLANTED}, headers=admin)
    assert again.status_code == 409
    replaced = await nova.http.put("/secrets/db", json={"value": PLANTED + "2"}, headers=admin)
    assert (replaced.json()["version"], replaced.json()["created_at"]) == (2, made.json()["created_at"])
    listed = await nova.http.get("/secrets", headers=admin)
    shown = await nova.http.get("/secrets/db", headers=admin)
    assert listed.json()["items"] == [shown.json()]
    assert shown.json()["functions"] == []
    revealed = await resolved(nova, ["db"], admin)
    assert revealed.json() == {"values": {"db": PLANTED + "2"}}
    assert (await nova.http.delete("/secrets/db", headers=admin)).status_code == 200
    assert (await nova.http.delete("/secrets/db", headers=admin)).status_code == 404
    for answer in (made, again, replaced, listed, shown):
        assert PLANTED not in answer.text


async def test_two_tenants_have_secrets_of_one_name(nova):
    for tenant in ("acme", "umbrella"):
        assert (await nova.http.post("/tenants", json={"id": tenant}, headers=nova.admin())).status_code == 201
        own = nova.member(tenant)
        kept = await nova.http.put("/secrets/key", json={"value": f"of {tenant}"}, headers=own)
        assert kept.status_code == 200, kept.text
    assert (await nova.http.delete("/secrets/key", headers=nova.member("acme"))).status_code == 200
    assert (await resolved(nova, ["key"], nova.member("umbrella"))).json()["values"] == {"key": "of umbrella"}
    assert (await resolved(nova, ["key"], nova.member("acme"))).status_code == 404
    assert (await nova.http.get("/secrets", headers=nova.member("acme"))).json()["items"] == []


async def test_only_who_may_manages_secrets(nova):
    for role, manages in (("operator", True), ("invoker", False), ("viewer", False)):
        headers = nova.member("default", role=role)
        put = await nova.http.put("/secrets/s", json={"value": "v"}, headers=headers)
        assert (put.status_code == 200) is manages
        assert ((await nova.http.get("/secrets", headers=headers)).status_code == 200) is manages
    assert (await nova.http.post("/master-keys", headers=nova.member("default"))).status_code == 403
    assert (await nova.http.get("/master-keys", headers=nova.member("default"))).status_code == 403


async def test_values_need_the_service_token_and_an_owner(nova):
    await nova.http.put("/secrets/s", json={"value": "v"}, headers=nova.admin())
    assert (await resolved(nova, ["s"], nova.service())).status_code == 401
    without = {"nova-identity": nova.admin()["nova-identity"]}
    assert (await resolved(nova, ["s"], without)).status_code == 401


@pytest.mark.parametrize("value", ["", "x" * 70_000, "a\0b"])
async def test_bad_values_are_refused_and_not_repeated(nova, value):
    answer = await nova.http.put("/secrets/s", json={"value": value}, headers=nova.admin())
    assert answer.status_code == 400
    assert not value or value[:10] not in answer.text


async def test_a_function_needs_the_secrets_that_it_names(nova):
    admin = nova.admin()
    body = {"name": "f", "runtime": "python", "code": "def handler(e, c): return 1\n", "env": {"P": "$SECRET:db"}}
    refused = await nova.http.post("/functions", json=body, headers=admin)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (422, "secret_unknown", "env.P")
    malformed = await nova.http.post("/functions", json={**body, "env": {"P": "$SECRET:"}}, headers=admin)
    assert malformed.status_code == 400
    await nova.http.put("/secrets/db", json={"value": PLANTED}, headers=admin)
    made = await nova.deploy("f", env={"P": "$SECRET:db"})
    assert made["env"] == {"P": "$SECRET:db"}
    await nova.deploy("g", env={"P": "$SECRET:db", "Q": "$SECRET:db"})
    shown = (await nova.http.get("/secrets/db", headers=admin)).json()
    assert (shown["functions"], shown["functions_count"]) == (["f", "g"], 2)
    refused = await nova.http.delete("/secrets/db", headers=admin)
    assert (refused.status_code, refused.json()["functions"]) == (409, ["f", "g"])
    other = await nova.http.patch("/functions/f", json={"env": {"P": "$SECRET:no"}}, headers=admin)
    assert other.status_code == 422
    for name in ("f", "g"):
        assert (await nova.http.delete(f"/functions/{name}", headers=admin)).status_code == 200
    assert (await nova.http.delete("/secrets/db", headers=admin)).status_code == 200


async def test_a_secret_stays_while_a_kept_version_uses_it(nova):
    admin = nova.admin()
    await nova.http.put("/secrets/s", json={"value": "v"}, headers=admin)
    await nova.deploy("f", env={"P": "$SECRET:s"})
    await nova.deploy("g", env={"P": "$SECRET_FILE:s"})
    for env in ({"P": "$SECRET:s", "Q": "1"}, {}):
        assert (await nova.http.patch("/functions/f", json={"env": env}, headers=admin)).status_code == 200
    refused = (await nova.http.delete("/secrets/s", headers=admin)).json()
    assert (refused["code"], refused["functions"], refused["versions"]) == ("secret_in_use", ["g"], ["f:1", "f:2"])
    assert "f:1, f:2" in refused["detail"]
    assert (await nova.http.delete("/functions/g", headers=admin)).status_code == 200
    refused = (await nova.http.delete("/secrets/s", headers=admin)).json()
    assert (refused["code"], refused["functions"], refused["versions"]) == ("secret_in_use", [], ["f:1", "f:2"])
    back = await nova.http.post("/functions/f/rollback", json={"version": 1}, headers=admin)
    assert (back.status_code, back.json()["env"]) == (200, {"P": "$SECRET:s"})
    refused = (await nova.http.delete("/secrets/s", headers=admin)).json()
    assert (refused["functions"], refused["versions"]) == (["f"], ["f:2"])
    assert (await nova.http.post("/functions/f/rollback", json={"version": 3}, headers=admin)).status_code == 200
    for version in (1, 2):
        assert (await nova.http.delete(f"/functions/f/versions/{version}", headers=admin)).status_code == 200
    assert (await nova.http.delete("/secrets/s", headers=admin)).status_code == 200


async def test_a_version_that_is_not_kept_any_more_holds_no_secret(nova):
    admin = nova.admin()
    await nova.http.put("/secrets/s", json={"value": "v"}, headers=admin)
    await nova.deploy("f", env={"P": "$SECRET:s"}, kept_versions=2)
    for number in range(3):
        changed = await nova.http.patch("/functions/f", json={"env": {"N": str(number)}}, headers=admin)
        assert changed.status_code == 200
    assert (await nova.http.delete("/secrets/s", headers=admin)).status_code == 200


async def test_what_is_deployed_while_its_secret_is_deleted_is_refused_or_keeps_it(nova):
    """Whichever commits first wins; the other hears why, and nothing refers to what is not there."""
    admin = nova.admin()
    for round_ in range(8):
        await nova.http.put("/secrets/s", json={"value": "v"}, headers=admin)
        answers = {}

        async def send(what, request, answers=answers):
            answers[what] = (await request).status_code

        body = {
            "name": f"f{round_}",
            "runtime": "python",
            "code": "def handler(e, c): return 1\n",
            "env": {"P": "$SECRET:s"},
        }
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, "deploy", nova.http.post("/functions", json=body, headers=admin))
            tasks.start_soon(send, "delete", nova.http.delete("/secrets/s", headers=admin))
        assert (answers["deploy"], answers["delete"]) in ((201, 409), (422, 200))
        await nova.http.delete(f"/functions/f{round_}", headers=admin)


async def test_a_namespace_and_a_tenant_go_with_their_secrets_in_use(nova, database):
    made = await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())
    assert made.status_code == 201
    for namespace in ("default", "extra"):
        admin = nova.admin("acme", namespace)
        await nova.http.post("/tenants/acme/namespaces", json={"name": namespace}, headers=nova.admin())
        await nova.http.put("/secrets/s", json={"value": "v"}, headers=admin)
        await nova.deploy("f", admin, env={"P": "$SECRET:s"})
    async with connect(database.dsn("nova"), application="tests", max_size=1) as db:
        tenancy = Tenancy(db)
        await tenancy.delete_namespace("acme", "extra")
        await tenancy.delete_tenant("acme")
        assert await db.fetch_value("SELECT count(*) FROM secrets") == 0
        assert (
            await db.fetch_value(
                "SELECT (SELECT count(*) FROM function_secrets) + (SELECT count(*) FROM version_secrets)"
            )
            == 0
        )


async def test_a_new_value_is_a_change_and_a_new_seal_is_none(nova, database):
    admin = nova.admin()
    await nova.http.put("/secrets/s", json={"value": "one"}, headers=admin)
    async with connect(database.dsn("nova"), application="tests", max_size=1) as db:
        kinds = "SELECT count(*) FROM changes WHERE kind = 'secret'"
        before = await db.fetch_value(kinds)
        await nova.http.put("/secrets/s", json={"value": "two"}, headers=admin)
        assert await db.fetch_value(kinds) == before + 1
        rotated = await nova.http.post("/master-keys", headers=admin)
        assert rotated.json()["version"] == 2
        await sealed_with(nova, 2)
        assert await db.fetch_value(kinds) == before + 1
    assert (await resolved(nova, ["s"], admin)).json()["values"] == {"s": "two"}


async def sealed_with(nova, version):
    with anyio.fail_after(20):
        while True:
            keys = (await nova.http.get("/master-keys", headers=nova.admin())).json()["items"]
            if all(key["secrets_count"] == 0 for key in keys if key["version"] != version):
                return keys
            await anyio.sleep(0.02)


async def test_a_rotation_that_was_killed_comes_to_its_end_after_the_next_start(database, tmp_path):
    async with connect(database.dsn("nova"), application="nova", max_size=4) as db:
        secrets = Secrets(db)
        vault = await open_vault(secrets, state_dir=tmp_path, configured="")
        for number in range(450):  # more than two batches
            await vault.put(("default", "default", f"s{number}"), f"value {number}".encode())
        await vault.rotate()  # and nobody runs: killed right behind the new key
        restarted = await open_vault(secrets, state_dir=tmp_path, configured="")
        assert restarted.newest == 2
        async with anyio.create_task_group() as tasks:
            await tasks.start(restarted.run)
            await vault.put(("default", "default", "s7"), b"set meanwhile")
            with anyio.fail_after(20):
                while any(key.secrets_count for key in await secrets.master_keys() if key.version == 1):
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        values = await restarted.reveal("default", "default", ["s0", "s7", "s449"])
        assert values == {"s0": "value 0", "s7": "set meanwhile", "s449": "value 449"}
        assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def test_keys_that_are_configured_are_rotated_where_they_are(database, tmp_path):
    async with connect(database.dsn("nova"), application="nova", max_size=4) as db:
        secrets = Secrets(db)
        one = new_keyring(1)
        vault = await open_vault(secrets, state_dir=tmp_path, configured=one.text())
        await vault.put(("default", "default", "s"), b"v")
        with pytest.raises(Exception, match="NOVA_SECRETS_KEY"):
            await vault.rotate()
        both = one.with_new_key()
        vault = await open_vault(secrets, state_dir=tmp_path, configured=both.text())
        async with anyio.create_task_group() as tasks:
            await tasks.start(vault.run)
            with anyio.fail_after(20):
                while [key.secrets_count for key in await secrets.master_keys()] != [1, 0]:
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        assert not (tmp_path / KEY_FILE).exists()
        with pytest.raises(MasterKeyMismatch):
            await open_vault(secrets, state_dir=tmp_path, configured=new_keyring(2).text())


async def test_who_lost_the_key_file_can_set_values_anew(database, tmp_path):
    async with connect(database.dsn("nova"), application="nova", max_size=4) as db:
        secrets = Secrets(db)
        vault = await open_vault(secrets, state_dir=tmp_path, configured="")
        await vault.put(("default", "default", "s"), b"lost")
        Path(tmp_path / KEY_FILE).unlink()
        vault = await open_vault(secrets, state_dir=tmp_path, configured="")
        assert list(keyring_of((tmp_path / KEY_FILE).read_text(), where="t").keys) == [2]
        with pytest.raises(Exception, match="master key 1"):
            await vault.reveal("default", "default", ["s"])
        await vault.put(("default", "default", "s"), b"new")
        assert await vault.reveal("default", "default", ["s"]) == {"s": "new"}
        assert isinstance(vault, Vault)
