"""Accounts of programs: `service-accounts`."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.client import ServiceAccountBody, ServiceAccountCreate, ServiceAccountUpdate
from constellation.orbit.commands.arguments import Agreed
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Accounts of programs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="name of the service account")]


@app.command("list")
def list_(context: typer.Context) -> None:
    """List service accounts."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[ServiceAccountBody]("NAME", lambda account: account.name),
        Column[ServiceAccountBody]("SUBJECT", lambda account: account.subject),
        Column[ServiceAccountBody]("DESCRIPTION", lambda account: account.description),
        Column[ServiceAccountBody]("STATE", lambda account: "enabled" if account.enabled else "disabled"),
        Column[ServiceAccountBody]("CREATED", lambda account: output.age(account.created_at)),
    ]
    output.rows(list(session.client.list_service_accounts()), columns, empty="There are no service accounts.")


@app.command("create")
def create(
    context: typer.Context, name: Name, description: Annotated[str, typer.Option(help="what it is for")] = ""
) -> None:
    """Make a service account; `orbit roles bind` gives it roles, `orbit keys create --service-account` keys."""
    session = Session.of(context)
    made = session.client.create_service_account(ServiceAccountCreate(name=name, description=description))
    session.output.made(made, f"created {made.subject} of {made.tenant}")


@app.command("enable")
def enable(context: typer.Context, name: Name) -> None:
    """Let the keys of a service account be used again."""
    session = Session.of(context)
    changed = session.client.update_service_account(name, ServiceAccountUpdate(enabled=True))
    session.output.made(changed, f"enabled {name}")


@app.command("disable")
def disable(context: typer.Context, name: Name) -> None:
    """Keep every key of a service account from being used."""
    session = Session.of(context)
    changed = session.client.update_service_account(name, ServiceAccountUpdate(enabled=False))
    session.output.made(changed, f"disabled {name}")


@app.command("delete")
def delete(context: typer.Context, name: Name, is_agreed: Agreed = False) -> None:
    """Delete a service account with its keys and roles."""
    session = Session.of(context)
    session.confirm(f"Delete the service account {name} with its keys?", is_agreed=is_agreed)
    session.output.made(session.client.delete_service_account(name), f"deleted {name}")
