"""Who may call, and in which scope: `keys`, `tenants`, `namespaces`."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import UNSET

from constellation.client import (
    ApiKeyBody,
    ApiKeyCreate,
    ApiKeyUpdate,
    NamespaceBody,
    NamespaceCreate,
    TenantBody,
    TenantCreate,
    TenantUpdate,
)
from constellation.orbit.commands.arguments import Agreed, seconds_of
from constellation.orbit.output import Column
from constellation.orbit.session import Session

keys = typer.Typer(help="API keys.", no_args_is_help=True)
tenants = typer.Typer(help="Tenants.", no_args_is_help=True)
namespaces = typer.Typer(help="Namespaces of the tenant in use.", no_args_is_help=True)

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="name of the key")]
TenantName = Annotated[str, typer.Argument(metavar="TENANT")]
NamespaceName = Annotated[str, typer.Argument(metavar="NAMESPACE")]


@keys.command("list")
def list_keys(context: typer.Context) -> None:
    """List keys; the keys themselves are never shown."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[ApiKeyBody]("NAME", lambda key: key.name),
        Column[ApiKeyBody]("ROLE", lambda key: key.role or f"service account {key.service_account}"),
        Column[ApiKeyBody]("TENANT", lambda key: key.tenant),
        Column[ApiKeyBody]("NAMESPACE", lambda key: key.namespace),
        Column[ApiKeyBody]("STATE", lambda key: "enabled" if key.enabled else "disabled"),
        Column[ApiKeyBody]("RATE", _rate),
        Column[ApiKeyBody]("EXPIRES", lambda key: output.age(key.expires_at) if key.expires_at else "never"),
        Column[ApiKeyBody]("CREATED", lambda key: output.age(key.created_at)),
        Column[ApiKeyBody]("LAST USED", lambda key: output.age(key.last_used_at) if key.last_used_at else "never"),
    ]
    output.rows(list(session.client.list_apikeys()), columns, empty="There are no keys.")


@keys.command("create")
def create_key(
    context: typer.Context,
    name: KeyName,
    role: Annotated[
        str | None, typer.Option(help="admin, operator, invoker, viewer or your own; operator when absent")
    ] = None,
    account: Annotated[
        str | None, typer.Option("--service-account", help="whom it acts as, with that one's roles")
    ] = None,
    is_tenant_wide: Annotated[bool, typer.Option("--all-namespaces", help="for every namespace of the tenant")] = False,
    expires: Annotated[str | None, typer.Option(help="lifetime: 12h, 30d; never ends when absent")] = None,
    rate: Annotated[
        float, typer.Option(help="calls of functions a second, on each comet; 0: what its tenant lets each key make")
    ] = 0.0,
    burst: Annotated[int, typer.Option(help="calls at once after a quiet time; 0: one second's worth")] = 0,
) -> None:
    """Make a key and print it, this once."""
    session = Session.of(context)
    made = session.client.create_apikey(
        ApiKeyCreate(
            name=name,
            role=UNSET if role is None else role,
            service_account=UNSET if account is None else account,
            namespace="*" if is_tenant_wide else UNSET,
            expires_in_s=UNSET if expires is None else seconds_of(expires),
            rate_per_s=rate,
            burst=burst,
        )
    )
    if session.output.is_table:
        session.output.line(made.key)
        acts = made.role or f"service account {made.service_account}"
        session.output.note(f"{acts} of {made.tenant}/{made.namespace}; the key is not shown again.")
    else:
        session.output.data(made)


@keys.command("rotate")
def rotate_key(context: typer.Context, name: KeyName) -> None:
    """Put a new key under a name and print it, this once; the one before is good no more."""
    session = Session.of(context)
    made = session.client.rotate_apikey(name)
    if session.output.is_table:
        session.output.line(made.key)
        session.output.note("The key is not shown again.")
    else:
        session.output.data(made)


@keys.command("limit")
def limit_key(
    context: typer.Context,
    name: KeyName,
    rate: Annotated[float, typer.Option(help="calls of functions a second, on each comet; 0: its tenant's limit only")],
    burst: Annotated[int, typer.Option(help="calls at once after a quiet time; 0: one second's worth")] = 0,
) -> None:
    """Bound how often a key may call functions; who calls more gets 429."""
    _change_key(context, name, ApiKeyUpdate(rate_per_s=rate, burst=burst), "limited" if rate else "unlimited")


@keys.command("enable")
def enable_key(context: typer.Context, name: KeyName) -> None:
    """Let a key be used."""
    _change_key(context, name, ApiKeyUpdate(enabled=True), "enabled")


@keys.command("disable")
def disable_key(context: typer.Context, name: KeyName) -> None:
    """Keep a key from being used."""
    _change_key(context, name, ApiKeyUpdate(enabled=False), "disabled")


@keys.command("delete")
def delete_key(context: typer.Context, name: KeyName, is_agreed: Agreed = False) -> None:
    """Revoke a key for good."""
    session = Session.of(context)
    session.confirm(f"Delete the key {name}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_apikey(name), f"deleted {name}")


@tenants.command("list")
def list_tenants(context: typer.Context) -> None:
    """List tenants."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[TenantBody]("ID", lambda tenant: tenant.id),
        Column[TenantBody]("NAME", lambda tenant: tenant.name),
        Column[TenantBody]("STATUS", lambda tenant: tenant.status),
        Column[TenantBody]("TIER", lambda tenant: tenant.tier),
        Column[TenantBody]("CREATED", lambda tenant: output.age(tenant.created_at)),
    ]
    output.rows(list(session.client.list_tenants()), columns, empty="There are no tenants.")


@tenants.command("create")
def create_tenant(
    context: typer.Context,
    tenant: TenantName,
    name: Annotated[str, typer.Option(help="what people call it")] = "",
    tier: Annotated[str, typer.Option(help="whose limits it has; the usual one when absent")] = "",
    has_seed: Annotated[
        bool, typer.Option("--seed", help="begin with hello-python, and service accounts operator, invoker and viewer")
    ] = False,
) -> None:
    """Make a tenant with its default namespace."""
    session = Session.of(context)
    wanted = TenantCreate(id=tenant, name=name, tier=tier or UNSET, seed=has_seed)
    session.output.made(session.client.create_tenant(wanted), f"created {tenant}")


@tenants.command("suspend")
def suspend_tenant(context: typer.Context, tenant: TenantName) -> None:
    """Keep a tenant from writing and calling."""
    _change_tenant(context, tenant, "suspended")


@tenants.command("activate")
def activate_tenant(context: typer.Context, tenant: TenantName) -> None:
    """Lift a suspension."""
    _change_tenant(context, tenant, "active")


@tenants.command("delete")
def delete_tenant(context: typer.Context, tenant: TenantName, is_agreed: Agreed = False) -> None:
    """Delete a tenant and all it has."""
    session = Session.of(context)
    session.confirm(f"Delete the tenant {tenant} with all its functions, keys and logs?", is_agreed=is_agreed)
    session.output.made(session.client.delete_tenant(tenant), f"deleted {tenant}")


@namespaces.command("list")
def list_namespaces(context: typer.Context) -> None:
    """List the namespaces of the tenant."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[NamespaceBody]("NAME", lambda namespace: namespace.name),
        Column[NamespaceBody]("TENANT", lambda namespace: namespace.tenant),
        Column[NamespaceBody]("CREATED", lambda namespace: output.age(namespace.created_at)),
    ]
    output.rows(list(session.client.list_namespaces(session.tenant)), columns, empty="There are no namespaces.")


@namespaces.command("create")
def create_namespace(context: typer.Context, name: NamespaceName) -> None:
    """Make a namespace."""
    session = Session.of(context)
    made = session.client.create_namespace(session.tenant, NamespaceCreate(name=name))
    session.output.made(made, f"created {made.tenant}/{made.name}")


@namespaces.command("delete")
def delete_namespace(context: typer.Context, name: NamespaceName, is_agreed: Agreed = False) -> None:
    """Delete an empty namespace."""
    session = Session.of(context)
    session.confirm(f"Delete the namespace {session.tenant}/{name}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_namespace(session.tenant, name), f"deleted {session.tenant}/{name}")


def _rate(key: ApiKeyBody) -> str:
    if not key.rate_per_s:
        return "any"
    return f"{key.rate_per_s:g}/s" + (f", {key.burst} at once" if key.burst else "")


def _change_key(context: typer.Context, name: str, changes: ApiKeyUpdate, done: str) -> None:
    session = Session.of(context)
    session.output.made(session.client.update_apikey(name, changes), f"{done} {name}")


def _change_tenant(context: typer.Context, tenant: str, status: str) -> None:
    session = Session.of(context)
    session.output.made(session.client.update_tenant(tenant, TenantUpdate(status=status)), f"{tenant} is {status}")
