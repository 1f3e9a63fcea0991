"""The settings of functions' URLs over the API, and as the gateway asks for them."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

CORS = {
    "allow_origins": ["https://a.example"], "allow_methods": ["GET"], "allow_headers": ["X-A"], "expose_headers": ["ETag"],
    "allow_credentials": True, "max_age_s": 60,
}  # fmt: skip
NO_CORS = {
    "allow_origins": [], "allow_methods": ["*"], "allow_headers": [], "expose_headers": [], "allow_credentials": False,
    "max_age_s": 0,
}  # fmt: skip
DEFAULT = {"enabled": True, "auth": "key", "invoke_mode": "buffered", "cors": NO_CORS}
WANTED = {"enabled": False, "auth": "none", "invoke_mode": "stream", "cors": CORS}
WHERE = {"tenant": "default", "namespace": "default", "name": "web"}


async def test_settings_are_kept_told_to_the_gateway_and_taken_back(nova):
    await nova.deploy("web")
    before = await nova.http.get("/functions/web/url", headers=nova.admin())
    assert before.json() == {"path": "/url/default/default/web", **DEFAULT}
    put = await nova.http.put("/functions/web/url", json=WANTED, headers=nova.admin())
    assert (put.status_code, put.json()) == (200, {"path": "/url/default/default/web", **WANTED})
    assert (await nova.http.get("/functions/web/url", headers=nova.admin())).json() == put.json()
    told = await nova.http.get("/internal/function-url", params=WHERE, headers=nova.service())
    assert told.json() == {"tenant_status": "active", **WANTED}
    back = await nova.http.delete("/functions/web/url", headers=nova.admin())
    assert back.json() == before.json()
    told = await nova.http.get("/internal/function-url", params=WHERE, headers=nova.service())
    assert told.json() == {"tenant_status": "active", **DEFAULT}


async def test_a_change_of_them_is_a_change_of_the_function(nova, db):
    await nova.deploy("web")
    seen = await db.fetch_value("SELECT max(seq) FROM changes")
    await nova.http.put("/functions/web/url", json={}, headers=nova.admin())
    await nova.http.delete("/functions/web/url", headers=nova.admin())
    rows = await db.fetch("SELECT kind, name FROM changes WHERE seq > $1", seen)
    assert [(row["kind"], row["name"]) for row in rows] == [("function", "web")] * 2


async def test_they_go_with_their_function(nova):
    await nova.deploy("web")
    await nova.http.put("/functions/web/url", json=WANTED, headers=nova.admin())
    await nova.http.delete("/functions/web", headers=nova.admin())
    for method in ("get", "delete"):
        gone = await getattr(nova.http, method)("/functions/web/url", headers=nova.admin())
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    gone = await nova.http.put("/functions/web/url", json={}, headers=nova.admin())
    assert gone.status_code == 404
    told = await nova.http.get("/internal/function-url", params=WHERE, headers=nova.service())
    assert told.status_code == 404
    await nova.deploy("web")
    assert (await nova.http.get("/functions/web/url", headers=nova.admin())).json()["auth"] == "key"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"auth": "maybe"}, None),
        ({"invoke_mode": "slow"}, None),
        ({"cors": {"allow_origins": ["https://a.example/path"]}}, "cors.allow_origins"),
        ({"cors": {"allow_origins": ["*"], "allow_credentials": True}}, "cors.allow_origins"),
        ({"cors": {"allow_headers": ["a b"]}}, "cors.allow_headers"),
        ({"cors": {"max_age_s": -1}}, None),
        ({"unknown": 1}, None),
    ],
)
async def test_what_means_nothing_is_refused(nova, body, field):
    await nova.deploy("web")
    refused = await nova.http.put("/functions/web/url", json=body, headers=nova.admin())
    assert refused.status_code == 400
    if field is not None:
        assert refused.json()["field"] == field
