"""Functions are found by the words of their names, descriptions, tags, docs and sources, in one's own scope."""

from __future__ import annotations

import base64

import pytest

from constellation.nova.domain.access import Role
from constellation.nova.store.pool import connect

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def found(nova, headers=None, **query: str) -> list[str]:
    answer = await nova.http.get("/functions", params=query, headers=headers or nova.admin())
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["pagination"]["total"] == len(page["items"])
    return [each["name"] for each in page["items"]]


async def test_a_function_is_found_by_beginnings_of_its_words(nova):
    await nova.deploy("send-invoiceMail", description="To the accountants", tags={"team": "billing"})
    await nova.deploy("resize", code="def handler(event, context):\n    return shrink_image(event)\n")
    for search in ("send", "MAIL", "inv", "acc", "billing", "accountants send"):
        assert await found(nova, search=search) == ["send-invoiceMail"], search
    for search in ("shrink", "image", "shrink_im", "resi"):
        assert await found(nova, search=search) == ["resize"], search
    assert await found(nova, search="handler") == ["resize", "send-invoiceMail"]
    for search in ("voice", "send shrink", "x" * 500, "'; & | ! <->"[:-4] + "nothing"):
        assert await found(nova, search=search) == [], search
    assert (await nova.http.get("/functions?search=--", headers=nova.admin())).json()["field"] == "search"


async def test_what_is_found_follows_each_change(nova):
    await nova.deploy("f", code="def handler(event, context): return 'aardvark'\n")
    url, admin = "/functions/f", nova.admin()
    assert (await nova.http.patch(url, json={"description": "about badgers"}, headers=admin)).status_code == 200
    assert await found(nova, search="badger aardvark") == ["f"]
    code = {"code": "def handler(event, context): return 'cheetah'\n"}
    assert (await nova.http.put(f"{url}/code", json=code, headers=admin)).status_code == 200
    assert (await found(nova, search="aardvark"), await found(nova, search="cheetah")) == ([], ["f"])
    assert (await nova.http.post(f"{url}/versions/1/activate", headers=admin)).status_code == 200
    assert (await found(nova, search="aardvark"), await found(nova, search="cheetah")) == (["f"], [])
    assert (await nova.http.put(f"{url}/docs", json={"content": "# Dingo"}, headers=admin)).status_code == 200
    assert await found(nova, search="dingo") == ["f"]
    assert (await nova.http.delete(f"{url}/docs", headers=admin)).status_code == 200
    assert await found(nova, search="dingo") == []
    assert (await nova.http.delete(url, headers=admin)).status_code == 200
    assert await found(nova, search="aardvark") == []


async def test_code_that_waits_for_its_build_is_found(nova):
    files = {"build.sh": "ZmFsY29u", "main.py": "ZGVmIGhhbmRsZXIoZSwgYyk6IHBhc3M="}
    body = {"name": "f", "runtime": "python", "files": files}
    assert (await nova.http.post("/functions", json=body, headers=nova.admin())).status_code == 201
    assert await found(nova, search="falcon") == ["f"]


async def test_sources_that_are_no_text_or_very_long_are_deployed_all_the_same(nova):
    long = ("é" * 7 + " ") * 30_000 + "".join(f" w{i}" for i in range(20_000))
    files = {
        "main.py": b"def handler(e, c): pass\n",
        "photo.bin": bytes(range(256)),
        "broken.txt": b"\xff\xfe words",
        "long.txt": long.encode(),
        "odd.txt": b"x" * 65_535 + "é".encode(),
    }
    body = {
        "name": "f",
        "runtime": "python",
        "files": {path: base64.b64encode(content).decode() for path, content in files.items()},
    }
    answer = await nova.http.post("/functions", json=body, headers=nova.admin())
    assert answer.status_code == 201, answer.text
    assert await found(nova, search="photo long") == ["f"]


async def test_words_of_other_scopes_find_nothing(nova):
    for tenant in ("acme", "beta"):
        assert (await nova.http.post("/tenants", json={"id": tenant}, headers=nova.admin())).status_code == 201
        headers = nova.member(tenant)
        await nova.deploy("same", headers, description=f"of {tenant}", tags={"owner": tenant})
        put = await nova.http.put("/functions/same/docs", json={"content": f"secret{tenant}"}, headers=headers)
        assert put.status_code == 200
    acme = nova.member("acme")
    assert await found(nova, acme, search="same") == ["same"]
    for query in ({"search": "beta"}, {"search": "secretbeta"}, {"tag": "owner=beta"}):
        assert await found(nova, acme, **query) == [], query
        assert await found(nova, nova.member("beta"), **query) == ["same"], query
    namespaces = "/tenants/acme/namespaces"
    assert (await nova.http.post(namespaces, json={"name": "dev"}, headers=nova.admin())).status_code == 201
    assert await found(nova, nova.member("acme", "dev"), search="same") == []


async def test_tags_filter_and_change_without_a_version(nova):
    made = await nova.deploy("a", tags={"team": "billing", "stage": "prod"})
    await nova.deploy("b", tags={"team": "search"})
    await nova.deploy("c")
    assert made["tags"] == {"team": "billing", "stage": "prod"}
    assert await found(nova, tag="team") == ["a", "b"]
    assert await found(nova, tag="team=search") == ["b"]
    assert await found(nova, tag="team", search="pro") == ["a"]
    assert await found(nova, tag="team", runtime="node") == []
    answer = await nova.http.patch("/functions/a", json={"tags": {"team": "search"}}, headers=nova.admin())
    assert answer.json()["tags"] == {"team": "search"}
    assert (answer.json()["version"], answer.json()["live_version"]) == (2, 1)
    assert await found(nova, tag="team=search") == ["a", "b"]
    assert await found(nova, tag="stage") == []
    for tags in ({"": "x"}, {"a b": "x"}, {"a": "x" * 257}, {"a": "\n"}, {f"k{i}": "" for i in range(51)}):
        for method, path, more in (
            ("PATCH", "/functions/a", {}),
            ("POST", "/functions", {"name": "d", "runtime": "python", "code": "def handler(e, c): pass"}),
        ):
            refused = await nova.http.request(method, path, json={"tags": tags, **more}, headers=nova.admin())
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request"), tags
    assert (await nova.http.get("/functions?tag=a%20b", headers=nova.admin())).json()["field"] == "tag"


async def test_totals_are_exact_and_count_nothing_twice(nova):
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    acme = nova.member("acme")
    for n in range(5):
        await nova.deploy(f"f{n}", acme, runtime="python")
    await nova.http.delete("/functions/f0", headers=acme)
    await nova.http.patch("/functions/f1", json={"memory_mb": 256}, headers=acme)

    async def total(**query: str) -> int:
        answer = await nova.http.get("/functions", params={"limit": "1", **query}, headers=acme)
        return int(answer.json()["pagination"]["total"])

    assert (await total(), await total(runtime="python"), await total(runtime="node")) == (4, 4, 0)
    assert (await total(search="f"), await total(offset="3"), await total(offset="9")) == (4, 4, 4)
    assert (await nova.http.delete("/tenants/acme", headers=nova.admin())).status_code == 200
    assert (await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())).status_code == 201
    assert await total() == 0


async def test_docs_are_shared_by_links_that_expire_and_are_revoked(nova, database):
    await nova.deploy("f")
    admin = nova.admin()
    docs, shares = "/functions/f/docs", "/functions/f/docs/shares"
    assert (await nova.http.get(docs, headers=admin)).status_code == 404
    assert (await nova.http.post(shares, json={}, headers=admin)).status_code == 404  # there is nothing to read
    assert (await nova.http.put(docs, json={"content": " \n"}, headers=admin)).json()["field"] == "content"
    assert (await nova.http.put(docs, json={"content": "é" * (200 << 10)}, headers=admin)).json()["field"] == "content"
    assert (await nova.http.put("/functions/g/docs", json={"content": "x"}, headers=admin)).status_code == 404
    for number, content in enumerate(("# One", "# Two"), 1):
        written = (await nova.http.put(docs, json={"content": content}, headers=admin)).json()
        assert (written["content"], written["version"]) == (content, number)

    made = await nova.http.post(shares, json={"title": "For you", "expires_in_s": 3600}, headers=admin)
    assert made.status_code == 201, made.text
    path = made.json()["path"]
    listed = (await nova.http.get(shares, headers=admin)).json()
    assert [each["id"] for each in listed["items"]] == [made.json()["id"]]
    assert path.rpartition("/")[2] not in str(listed)
    anybody = nova.service()  # the gateway, without anybody's identity
    shown = (await nova.http.get(path, headers=anybody)).json()
    assert (shown["function"], shown["title"], shown["content"]) == ("f", "For you", "# Two")
    assert (await nova.http.get(path + "x", headers=anybody)).status_code == 404
    invoker = nova.member("default", role=Role.INVOKER)
    assert (await nova.http.get(docs, headers=invoker)).status_code == 200
    assert (await nova.http.post(shares, json={}, headers=invoker)).status_code == 403
    assert (await nova.http.delete(f"{shares}/nonsense", headers=admin)).status_code == 404
    assert (await nova.http.delete(f"{shares}/{made.json()['id']}", headers=admin)).status_code == 200
    assert (await nova.http.get(path, headers=anybody)).status_code == 404

    late = (await nova.http.post(shares, json={"expires_in_s": 60}, headers=admin)).json()["path"]
    async with connect(database.dsn(), application="tests", max_size=1) as db, db.transaction() as tx:
        await tx.execute("UPDATE doc_shares SET expires_at = now() - interval '1 s'")
    gone = await nova.http.get(late, headers=anybody)
    assert (gone.status_code, gone.json()["code"]) == (410, "share_expired")
    kept = (await nova.http.post(shares, json={}, headers=admin)).json()["path"]
    assert (await nova.http.delete("/functions/f", headers=admin)).status_code == 200
    assert (await nova.http.get(kept, headers=anybody)).status_code == 404


async def test_what_very_many_have_is_found_page_by_page(nova, monkeypatch):
    """Past a number of finds they are counted no further, and their pages are read another way."""
    monkeypatch.setattr("constellation.nova.store.functions.COUNT_LIMIT", 3)
    for n in range(5):
        await nova.deploy(f"same-{n}")
    await nova.deploy("other")
    seen = []
    for offset in (0, 2, 4):
        answer = await nova.http.get(f"/functions?search=same&limit=2&offset={offset}", headers=nova.admin())
        page = answer.json()
        seen += [each["name"] for each in page["items"]]
        assert page["pagination"]["total_at_least"] >= 3
    assert seen == [f"same-{n}" for n in range(5)]
