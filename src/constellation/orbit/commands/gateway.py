"""Hosts of one's own, and which functions answer there: `domains`, `gateway`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from msgspec import UNSET

from constellation.client import (
    DomainBody,
    DomainCreate,
    GatewayRouteBody,
    GatewayRouteCreate,
    GatewayRoutesPut,
    GatewayRouteUpdate,
    RoutePolicy,
)
from constellation.orbit.commands.arguments import Agreed, event_of
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

domains = typer.Typer(help="Hosts of your own that the gateway serves.", no_args_is_help=True)
app = typer.Typer(help="Which functions answer on which paths of your domains.", no_args_is_help=True)

HostName = Annotated[str, typer.Argument(metavar="HOST", help='shop.example.org, or "*.example.org"')]
RouteId = Annotated[str, typer.Argument(metavar="ID", help="its id, or a part of it that no other has")]
Path = Annotated[str, typer.Argument(metavar="PATH", help="/users/{id}, /files/{path+}, /*")]
Methods = Annotated[list[str] | None, typer.Option("--method", "-X", help="may be given again; any when absent")]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="JSON|@FILE|-",
        help='{"ip_allow": [], "cors": {}, "timeout_s": 5, "schema": {"body": {}}, "request": {"id": "path.id"}, "response": {}, '
        '"retry": {"attempts": 3}, "breaker_error_percent": 50, "stream": false, "websocket": false, "permissions": [], "mock": null, ...}; README and /openapi.json have all of it',
    ),
]
Auth = Annotated[str | None, typer.Option("--auth", help="none, api_key (as when absent), session, jwt or any")]


@domains.command("list")
def list_domains(context: typer.Context) -> None:
    """List domains."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[DomainBody]("HOST", lambda domain: domain.host),
        Column[DomainBody]("NAMESPACE", lambda domain: domain.namespace),
        Column[DomainBody]("CREATED", lambda domain: output.age(domain.created_at)),
    ]
    output.rows(list(session.client.list_domains()), columns, empty="There are no domains.")


@domains.command("create")
def create_domain(context: typer.Context, host: HostName) -> None:
    """Serve a host. Its DNS must lead to the gateway."""
    session = Session.of(context)
    made = session.client.create_domain(DomainCreate(host=host))
    session.output.made(made, f"created {made.host}")


@domains.command("delete")
def delete_domain(context: typer.Context, host: HostName, is_agreed: Agreed = False) -> None:
    """Give a host up, with its routes."""
    session = Session.of(context)
    session.confirm(f"Delete the domain {host} and its routes?", is_agreed=is_agreed)
    session.output.made(session.client.delete_domain(host), f"deleted {host}")


@app.command("list")
def list_(
    context: typer.Context,
    host: Annotated[str | None, typer.Argument(metavar="[HOST]", help="only of this domain")] = None,
    function: Annotated[str | None, typer.Option(help="only of this function")] = None,
) -> None:
    """List routes."""
    session = Session.of(context)
    columns = [
        Column[GatewayRouteBody]("ID", lambda route: route.id),
        Column[GatewayRouteBody]("HOST", lambda route: route.host),
        Column[GatewayRouteBody]("PATH", lambda route: route.path),
        Column[GatewayRouteBody]("METHODS", lambda route: ",".join(route.methods) or "any"),
        Column[GatewayRouteBody]("FUNCTION", lambda route: route.function),
        Column[GatewayRouteBody]("AUTH", lambda route: route.auth),
        Column[GatewayRouteBody]("STATE", lambda route: "enabled" if route.enabled else "disabled"),
    ]
    found = session.client.list_gateway_routes(host=host, function=function)
    session.output.rows(list(found), columns, empty="There are no routes.")


@app.command("match")
def match(
    context: typer.Context,
    host: HostName,
    path: Annotated[str, typer.Argument(metavar="PATH", help="of a request: /users/7")],
    method: Annotated[str, typer.Option("--method", "-X", help="of the request")] = "GET",
) -> None:
    """Say which route serves a request, without making it."""
    session = Session.of(context)
    found = session.client.match_gateway_route(host, path, method=method)
    route, names = found.route, " ".join(f"{name}={value}" for name, value in found.path_params.items())
    text = f"{route.id}: {route.host}{route.path} to {route.function}, auth {route.auth}"
    session.output.made(found, f"{text}; {names}" if names else text)


@app.command("status")
def status(context: typer.Context, route: RouteId) -> None:
    """Show how the gateway that answers serves a route, and its breaker."""
    session = Session.of(context)
    found = session.client.gateway_route_status(_find(session, route).id)
    breaker = found.breaker
    text = "no breaker"
    if breaker is not None:
        rest = f", probes in {breaker.left_s:.1f} s" if breaker.left_s else ""
        text = f"breaker {breaker.state}{rest}: {breaker.good} well, {breaker.bad} failed, openings {breaker.opened}"
    session.output.made(found, f"{found.host}{found.path} to {found.function}: {text}")


@app.command("create")
def create(
    context: typer.Context,
    host: HostName,
    path: Path,
    function: Annotated[str, typer.Argument(metavar="FUNCTION[:QUALIFIER]", help="users, users:3, users:prod")],
    methods: Methods = None,
    auth: Auth = None,
    policy: Policy = None,
    is_disabled: Annotated[bool, typer.Option("--disabled", help="make it without serving it")] = False,
) -> None:
    """Let a function answer a path of a domain."""
    session = Session.of(context)
    wanted = GatewayRouteCreate(
        host=host,
        path=path,
        function=function,
        methods=tuple(methods or ()),
        auth=auth or "api_key",  # type: ignore[arg-type]  # the server says what there is
        enabled=not is_disabled,
        policy=RoutePolicy() if policy is None else _policy(policy),
    )
    _show(session, session.client.create_gateway_route(wanted), "created")


@app.command("update")
def update(
    context: typer.Context,
    route: RouteId,
    path: Annotated[str | None, typer.Option(help="the new path")] = None,
    function: Annotated[str | None, typer.Option(help="what answers: users, users:3, users:prod")] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", "-X", help='may be given again; "any"')] = None,
    auth: Auth = None,
    policy: Policy = None,
) -> None:
    """Change a route. A policy takes the place of the whole one before."""
    if path is None and function is None and not methods and auth is None and policy is None:
        raise OrbitError("nothing to change", hint="Give --path, --function, --method, --auth or --policy.")
    changes = GatewayRouteUpdate(
        path=UNSET if path is None else path,
        function=UNSET if function is None else function,
        methods=tuple(method for method in methods if method != "any") if methods else UNSET,
        auth=UNSET if auth is None else auth,  # type: ignore[arg-type]  # the server says what there is
        policy=UNSET if policy is None else _policy(policy),
    )
    _change(context, route, changes, "updated")


@app.command("enable")
def enable(context: typer.Context, route: RouteId) -> None:
    """Serve a route."""
    _change(context, route, GatewayRouteUpdate(enabled=True), "enabled")


@app.command("disable")
def disable(context: typer.Context, route: RouteId) -> None:
    """Serve a route no more, and keep it."""
    _change(context, route, GatewayRouteUpdate(enabled=False), "disabled")


@app.command("delete")
def delete(context: typer.Context, route: RouteId, is_agreed: Agreed = False) -> None:
    """Delete a route."""
    session = Session.of(context)
    found = _find(session, route)
    session.confirm(f"Delete the route {found.host}{found.path}?", is_agreed=is_agreed)
    session.client.delete_gateway_route(found.id)
    _show(session, found, "deleted")


@app.command("export")
def export(context: typer.Context, host: HostName) -> None:
    """Write all routes of a domain as JSON, as `import` reads them."""
    session = Session.of(context)
    routes = [
        {name: getattr(route, name) for name in ("path", "function", "methods", "auth", "enabled", "policy")}
        for route in session.client.list_gateway_routes(host=host)
    ]
    text = msgspec.json.format(msgspec.json.encode({"routes": routes}), indent=2)
    session.output.line(text.decode())


@app.command("import")
def import_(
    context: typer.Context,
    host: HostName,
    routes: Annotated[str, typer.Argument(metavar="@FILE|-|JSON", help="as `export` writes it")],
    is_dry: Annotated[bool, typer.Option("--dry-run", help="check it and say what would change")] = False,
    is_agreed: Agreed = False,
) -> None:
    """Put routes in place of all that a domain has: all of them, or none."""
    session = Session.of(context)
    try:
        wanted = msgspec.json.decode(event_of(routes), type=GatewayRoutesPut)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise OrbitError(f"the routes: {error}") from error
    planned = session.client.replace_gateway_routes(host, msgspec.structs.replace(wanted, dry_run=True))
    if not is_dry:
        if planned.deleted:
            session.confirm(f"Delete {', '.join(planned.deleted)} of {host}?", is_agreed=is_agreed)
        planned = session.client.replace_gateway_routes(host, msgspec.structs.replace(wanted, dry_run=False))
    parts = [(planned.added, "added"), (planned.changed, "changed"), (planned.deleted, "deleted")]
    lines = [f"{done} {route}" for group, done in parts for route in group]
    would = ["nothing is written yet:"] if is_dry else []
    session.output.made(planned, "\n".join([*would, *lines, f"{planned.kept} stay as they are"]))


def _change(context: typer.Context, route: str, changes: GatewayRouteUpdate, done: str) -> None:
    session = Session.of(context)
    found = _find(session, route)
    _show(session, session.client.update_gateway_route(found.id, changes), done)


def _find(session: Session, text: str) -> GatewayRouteBody:
    found = [route for route in session.client.list_gateway_routes() if text in str(route.id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise OrbitError(f"{text!r} fits {len(found)} routes", hint="Give more of the id.")
    hint = "`orbit gateway list` shows their ids."
    raise OrbitError(f"there is no route {text!r}", hint=hint, exit=Exit.NOT_FOUND)


def _policy(text: str) -> RoutePolicy:
    try:
        return msgspec.json.decode(event_of(text), type=RoutePolicy)
    except msgspec.ValidationError as error:
        raise OrbitError(f"--policy: {error}") from error


def _show(session: Session, route: GatewayRouteBody, done: str) -> None:
    methods = ",".join(route.methods) or "any method"
    session.output.made(route, f"{done} {route.id}: {methods} {route.host}{route.path} to {route.function}")
