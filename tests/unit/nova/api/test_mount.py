"""Each route of the control plane has one operation, each operation a route, each route a permission."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from constellation.base.clock import SystemClock
from constellation.nova.api import internal
from constellation.nova.api.controlplane.ai import AiRoutes
from constellation.nova.api.controlplane.aliases import AliasRoutes
from constellation.nova.api.controlplane.audit import AuditRoutes
from constellation.nova.api.controlplane.canaries import CanaryRoutes
from constellation.nova.api.controlplane.databases import DatabaseRoutes
from constellation.nova.api.controlplane.docs import DocsRoutes
from constellation.nova.api.controlplane.functions import FunctionRoutes
from constellation.nova.api.controlplane.gateway import DomainRoutes
from constellation.nova.api.controlplane.ingress import IngressRoutes
from constellation.nova.api.controlplane.keys import KeyRoutes
from constellation.nova.api.controlplane.layers import LayerRoutes
from constellation.nova.api.controlplane.notifications import NotificationRoutes
from constellation.nova.api.controlplane.oidc import OidcRoutes
from constellation.nova.api.controlplane.quotas import QuotaRoutes
from constellation.nova.api.controlplane.rbac import RbacRoutes
from constellation.nova.api.controlplane.runtimes import RuntimeRoutes
from constellation.nova.api.controlplane.schedules import ScheduleRoutes
from constellation.nova.api.controlplane.secrets import SecretRoutes
from constellation.nova.api.controlplane.service_accounts import ServiceAccountRoutes
from constellation.nova.api.controlplane.sessions import SessionRoutes
from constellation.nova.api.controlplane.settings import SettingRoutes
from constellation.nova.api.controlplane.slos import SloRoutes
from constellation.nova.api.controlplane.tenancy import TenancyRoutes
from constellation.nova.api.controlplane.urls import UrlRoutes
from constellation.nova.api.controlplane.users import UserRoutes
from constellation.nova.api.controlplane.versions import VersionRoutes
from constellation.nova.api.controlplane.volumes import VolumeRoutes
from constellation.nova.api.mount import Mount, operations_of
from constellation.nova.api.openapi import OpenApiRoutes
from constellation.nova.domain.access import Permission
from constellation.routes.registry import ROUTES
from constellation.routes.route import Plane, Transport
from constellation.rpc.caller import CallerVerifier

GROUPS = (
    AuditRoutes,
    DatabaseRoutes,
    DocsRoutes,
    DomainRoutes,
    FunctionRoutes,
    KeyRoutes,
    LayerRoutes,
    VolumeRoutes,
    NotificationRoutes,
    AiRoutes,
    AliasRoutes,
    CanaryRoutes,
    SloRoutes,
    OpenApiRoutes,
    RbacRoutes,
    RuntimeRoutes,
    ScheduleRoutes,
    SecretRoutes,
    SettingRoutes,
    ServiceAccountRoutes,
    OidcRoutes,
    SessionRoutes,
    TenancyRoutes,
    QuotaRoutes,
    UrlRoutes,
    UserRoutes,
    VersionRoutes,
    IngressRoutes,
)


def operations() -> dict[str, object]:
    return {name: operation for group in GROUPS for name, operation in operations_of(group).items()}


PUBLIC = {
    "openapi", "login", "list_login_providers", "begin_oidc_login", "return_oidc_login", "finish_oidc_login",
    "end_oidc_sessions",
    "read_shared_docs",
}  # fmt: skip


def test_routes_of_nova_and_operations_are_the_same_set():
    routes = {route.operation for route in ROUTES if route.plane is Plane.NOVA}
    assert operations().keys() == routes
    assert operations_of(internal.InternalRoutes).keys() == {route.operation for route in internal.ROUTES}


def test_each_route_of_nova_asks_for_a_permission():
    for route in ROUTES:
        if route.plane is Plane.NOVA:
            assert isinstance(route.permission, Permission)
            assert (route.permission is Permission.PUBLIC) == (route.operation in PUBLIC)


def test_internal_routes_are_none_of_the_public_ones():
    for route in internal.ROUTES:
        assert route.template.startswith("/internal/")
        assert route.transport is Transport.LOCAL
    assert not [route for route in ROUTES if route.template.startswith("/internal")]


def test_a_route_without_an_operation_is_refused_at_the_start():
    verifier = CallerVerifier(service_token="t", identity_key=b"k", clock=SystemClock())
    for served in ({}, {"openapi": None, "stranger": None}):
        with pytest.raises(AssertionError, match="routes and operations differ"):
            Mount(
                routes=[route for route in ROUTES if route.operation == "openapi"],
                operations=served,
                verifier=verifier,
                tenants=None,
                max_body_bytes=1,
                registry=CollectorRegistry(),
            )
