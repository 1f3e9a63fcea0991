"""Every route, with every kind of caller, with and without /v1: one table says who may."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from constellation.nova.domain.access import Permission
from constellation.routes.registry import ROUTES
from constellation.routes.route import Route

from .fronted import PASSWORD, fronted

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

P = Permission
VIEWER, INVOKER, OPERATOR, ADMIN = "viewer", "invoker", "operator", "admin"
ALL = frozenset({VIEWER, INVOKER, OPERATOR, ADMIN})
# Who may, by the permission that a route declares; what is not here is everybody's but the viewer's and invoker's.
MAY = {
    P.AUTHENTICATED: ALL,
    P.FUNCTION_READ: ALL,
    P.LOG_READ: ALL,
    P.FUNCTION_INVOKE: ALL - {VIEWER},
    P.TOPIC_PUBLISH: ALL - {VIEWER},
    P.TOPIC_READ: ALL - {INVOKER},
    P.RUNTIME_READ: ALL - {INVOKER},
    P.SANDBOX_READ: ALL - {INVOKER},
    P.METRICS_READ: ALL - {INVOKER},
    P.STATE_READ: ALL - {INVOKER},
    P.APIKEY_MANAGE: {ADMIN},
    P.TENANT_MANAGE: {ADMIN},
    P.USER_MANAGE: {ADMIN},
    P.RBAC_MANAGE: {ADMIN},
    P.CONFIG_READ: {ADMIN},
    P.CONFIG_WRITE: {ADMIN},
    P.AUDIT_READ: {ADMIN},
    P.GATEWAY_READ: ALL - {INVOKER},
    P.NOTIFICATION_READ: ALL - {INVOKER},
    P.LAYER_READ: ALL - {INVOKER},
    P.VOLUME_READ: ALL - {INVOKER},
}
PLATFORMS = {"list_master_keys", "rotate_master_key"}  # whoever has the permission in one tenant only is refused
REFUSED = (401, 403)


@dataclass(frozen=True)
class Asker:
    name: str
    headers: dict[str, str]


def expected(route: Route, asker: str) -> int | None:
    """The status that a route refuses with; None: it does not refuse."""
    if route.permission is P.PUBLIC:
        return None
    if asker == "nobody":
        return 401
    if asker == "stranger":
        return 403
    if route.operation in PLATFORMS:
        return None if asker == ADMIN else 403
    return None if asker in MAY.get(route.permission, {OPERATOR, ADMIN}) else 403


async def test_every_route_lets_in_whom_the_table_says(nova, tmp_path):
    assert (await nova.http.post("/tenants", json={"id": "other"}, headers=nova.admin())).status_code == 201
    for role in (VIEWER, INVOKER, OPERATOR, ADMIN):
        body = {"name": role, "password": PASSWORD, "role": role, "is_platform": role == ADMIN}
        assert (await nova.http.post("/users", json=body, headers=nova.admin())).status_code == 201
    body = {"name": "stranger", "password": PASSWORD, "role": ADMIN}
    assert (await nova.http.post("/users", json=body, headers=nova.admin("other"))).status_code == 201
    wrong = []
    async with fronted(nova, tmp_path) as front:
        tokens = {role: await front.login(role) for role in (VIEWER, INVOKER, OPERATOR, ADMIN)}
        askers = [Asker(role, {"authorization": f"Bearer {token}"}) for role, token in tokens.items()]
        askers.append(Asker("nobody", {}))
        token = await front.login("stranger", tenant="other")
        askers.append(Asker("stranger", {"authorization": f"Bearer {token}", "x-nova-tenant": "default"}))
        for route in ROUTES:
            # Names of nothing that exists: who is let in changes nothing.
            path = route.template.replace("{rest:path}", "a").replace("{key:path}", "k")
            path = (
                path.replace("{tenant}/{namespace}", "default/default")
                .replace("{tenant}", "default")
                .replace("{", "no-")
                .replace("}", "")
            )
            method = "GET" if route.method == "*" else route.method
            if route.operation == "logout":  # of the five that have a session none is to end it
                continue
            if route.operation == "delete_tenant":
                path = "/tenants/no-tenant"
            for asker in askers:
                for prefix in ("", "/v1"):
                    body = b"{" if route.request is not None else b""  # understood by no route
                    headers = {**asker.headers, "content-type": "application/json"}
                    request = front.http.build_request(method, prefix + path, content=body, headers=headers)
                    answer = await front.http.send(request, stream=True)
                    status, code = answer.status_code, ""
                    if status in REFUSED:
                        code = (await answer.aread()) and answer.json()["code"]
                    await answer.aclose()
                    want = expected(route, asker.name)
                    if (status if status in REFUSED else None) != want:
                        wrong.append((route.operation, asker.name, prefix, status, code, want))
    assert not wrong
