"""Who calls, and what they may: `login`, `logout`, `users`, `roles`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from msgspec import UNSET

from constellation.client import (
    ApiProblem,
    BindingBody,
    BindingCreate,
    LoggedInBody,
    Login,
    OidcBegin,
    OidcFinish,
    PasswordChange,
    PasswordReset,
    RoleBody,
    RoleCreate,
    RoleUpdate,
    SessionBody,
    UserBody,
    UserCreate,
    UserUpdate,
)
from constellation.orbit.commands.arguments import Agreed, id_of
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.provider_login import Landing, Proof
from constellation.orbit.session import Session

users = typer.Typer(help="Users of the tenant.", no_args_is_help=True)
roles = typer.Typer(help="Roles, and who has them.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(metavar="NAME", help="name of the user")]
RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="built-in or the tenant's own")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="read the password from standard input")]


def register(app: typer.Typer) -> None:
    app.command("login")(login)
    app.command("logout")(logout)
    app.command("sessions")(sessions)
    app.command("password")(password)
    app.add_typer(users, name="users")
    app.add_typer(roles, name="roles")


def login(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="name of the user, with a password")] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="PROVIDER", help="log in there, in a browser, instead")
    ] = None,
    is_quiet: Annotated[bool, typer.Option("--no-browser", help="print the address and open none")] = False,
    is_pasted: Annotated[
        bool, typer.Option("--paste", help="the browser is elsewhere: ask for the code it shows")
    ] = False,
    wait_s: Annotated[int, typer.Option("--wait", metavar="SECONDS", min=1, max=600, help="for the browser")] = 300,
    is_piped: FromStdin = False,
) -> None:
    """Log in with a password, or at a provider of OpenID Connect.

    The session's token is kept in the profile, readable by you only.
    """
    session = Session.of(context)
    if (name is None) == (provider is None):
        known = ", ".join(each.name for each in session.client.list_login_providers().providers)
        raise OrbitError(
            "give either a user's NAME or a --provider",
            hint=f"Providers are {known}."
            if known
            else "No provider is configured: `orbit login NAME` asks for a password.",
        )
    if provider is not None:
        made = _provider_login(session, provider, opens=not is_quiet, is_pasted=is_pasted, wait_s=wait_s)
    else:
        assert name is not None
        tenant = session.settings["tenant"].value if "tenant" in session.settings else "default"
        made = session.client.login(Login(user=name, password=_password("Password", is_piped), tenant=tenant))
    session.store("token", made.token)
    if session.output.is_table:
        session.output.line(f"logged in as {made.subject} of {made.tenant}, until {made.expires_at:%Y-%m-%d %H:%M} UTC")
    else:
        session.output.data({"subject": made.subject, "tenant": made.tenant, "expires_at": made.expires_at})


def _provider_login(session: Session, provider: str, *, opens: bool, is_pasted: bool, wait_s: int) -> LoggedInBody:
    """Send a browser to a provider and come back with a session."""
    proof = Proof()
    if is_pasted:
        begun = session.client.begin_oidc_login(provider, OidcBegin(challenge=proof.challenge))
        typer.echo(f"Log in at\n\n    {begun.url}\n", err=True)
        try:
            code = str(typer.prompt("Code", err=True)).strip()
        except typer.Abort as error:
            raise OrbitError("nobody gave a code") from error
    else:
        with Landing() as landing:
            login = OidcBegin(challenge=proof.challenge, port=landing.port)
            begun = session.client.begin_oidc_login(provider, login)
            typer.echo(f"Log in at\n\n    {begun.url}\n", err=True)
            if opens:
                session.host.browse(begun.url)
            code = landing.wait(wait_s)
    return session.client.finish_oidc_login(OidcFinish(code=code, verifier=proof.verifier))


def logout(
    context: typer.Context,
    is_quiet: Annotated[
        bool, typer.Option("--no-browser", help="print the provider's address for logouts and open none")
    ] = False,
) -> None:
    """End the session of the profile and forget its token; one of a provider ends there, too, in a browser."""
    session = Session.of(context)
    if "token" not in session.settings:
        raise OrbitError("nobody is logged in", hint="`orbit login NAME` logs in.")
    url = None
    try:
        url = session.client.logout().logout_url
    except ApiProblem as problem:
        if problem.status != 401:  # over already: what is left is to forget it
            raise
    session.store("token", None)
    session.output.line("logged out")
    if url is not None:
        typer.echo(f"The provider's own session ends at\n\n    {url}\n", err=True)
        if not is_quiet:
            session.host.browse(url)


def sessions(context: typer.Context) -> None:
    """List your sessions."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[SessionBody]("ID", lambda one: one.id),
        Column[SessionBody]("FROM", lambda one: one.address),
        Column[SessionBody]("BEGAN", lambda one: output.age(one.created_at)),
        Column[SessionBody]("ENDS", lambda one: output.age(one.expires_at)),
        Column[SessionBody]("", lambda one: "this one" if one.is_current else ""),
    ]
    output.rows(list(session.client.list_sessions()), columns, empty="There are no sessions.")


def password(context: typer.Context, is_piped: FromStdin = False) -> None:
    """Change your own password; your other sessions end. Piped: the current one, then the new one, a line each."""
    session = Session.of(context)
    change = PasswordChange(
        current=_password("Current password", is_piped), new=_password("New password", is_piped, is_new=True)
    )
    session.output.made(session.client.change_password(change), "the password is changed")


@users.command("list")
def list_users(context: typer.Context) -> None:
    """List users."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[UserBody]("NAME", lambda user: user.name),
        Column[UserBody]("SUBJECT", lambda user: user.subject),
        Column[UserBody]("DISPLAY NAME", lambda user: user.display_name),
        Column[UserBody]("STATE", lambda user: "enabled" if user.enabled else "disabled"),
        Column[UserBody]("CREATED", lambda user: output.age(user.created_at)),
    ]
    output.rows(list(session.client.list_users()), columns, empty="There are no users.")


@users.command("create")
def create_user(
    context: typer.Context,
    name: UserName,
    role: Annotated[str, typer.Option(help="in the whole tenant; none: give roles later")] = "viewer",
    display_name: Annotated[str, typer.Option(help="what people call it")] = "",
    is_platform: Annotated[bool, typer.Option("--platform", help="acts in every tenant")] = False,
    provider: Annotated[
        str | None, typer.Option("--provider", help="it logs in there, where it has this name, and needs no password")
    ] = None,
    is_piped: FromStdin = False,
) -> None:
    """Make a user."""
    session = Session.of(context)
    user = UserCreate(
        name=name,
        password=_password("Password", is_piped, is_new=True) if provider is None else UNSET,
        provider=UNSET if provider is None else provider,
        display_name=display_name,
        role=None if role == "none" else role,
        is_platform=is_platform,
    )
    made = session.client.create_user(user)
    session.output.made(made, f"created {made.subject} of {made.tenant}")


@users.command("password")
def reset_password(context: typer.Context, name: UserName, is_piped: FromStdin = False) -> None:
    """Set another user's password; its sessions end."""
    session = Session.of(context)
    new = PasswordReset(password=_password("New password", is_piped, is_new=True))
    session.output.made(session.client.reset_password(name, new), f"the password of {name} is changed")


@users.command("enable")
def enable_user(context: typer.Context, name: UserName) -> None:
    """Let a user log in again."""
    session = Session.of(context)
    session.output.made(session.client.update_user(name, UserUpdate(enabled=True)), f"enabled {name}")


@users.command("disable")
def disable_user(context: typer.Context, name: UserName) -> None:
    """Log a user out everywhere, and let it in no more."""
    session = Session.of(context)
    session.output.made(session.client.update_user(name, UserUpdate(enabled=False)), f"disabled {name}")


@users.command("logout")
def end_sessions(context: typer.Context, name: UserName) -> None:
    """Log a user out everywhere."""
    session = Session.of(context)
    session.output.made(session.client.end_user_sessions(name), f"logged {name} out")


@users.command("delete")
def delete_user(context: typer.Context, name: UserName, is_agreed: Agreed = False) -> None:
    """Delete a user."""
    session = Session.of(context)
    session.confirm(f"Delete the user {name}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_user(name), f"deleted {name}")


@roles.command("list")
def list_roles(context: typer.Context) -> None:
    """List roles with what they permit."""
    session = Session.of(context)
    columns = [
        Column[RoleBody]("NAME", lambda role: role.name),
        Column[RoleBody]("BUILT-IN", lambda role: role.is_builtin),
        Column[RoleBody]("PERMISSIONS", lambda role: ", ".join(role.permissions)),
    ]
    session.output.rows(list(session.client.list_roles()), columns, empty="There are no roles.")


@roles.command("permissions")
def list_permissions(context: typer.Context) -> None:
    """List every permission and what asks for it."""
    session = Session.of(context)
    found = session.client.list_permissions()
    if not session.output.is_table:
        session.output.data(found)
        return
    for each in found.permissions:
        session.output.line(f"{each.permission}: {', '.join(each.routes)}")


@roles.command("mine")
def my_permissions(context: typer.Context) -> None:
    """Show what you may do in the namespace in use."""
    session = Session.of(context)
    session.output.item(session.client.my_permissions())


Permitted = Annotated[list[str], typer.Option("--permission", "-p", help="one of `orbit roles permissions`; repeat it")]


@roles.command("create")
def create_role(
    context: typer.Context,
    name: RoleName,
    permissions: Permitted,
    description: Annotated[str, typer.Option(help="what it is for")] = "",
) -> None:
    """Make a role of the tenant's own."""
    session = Session.of(context)
    role = RoleCreate(name=name, permissions=permissions, description=description)
    session.output.made(session.client.create_role(role), f"created {name}")


@roles.command("update")
def update_role(
    context: typer.Context,
    name: RoleName,
    permissions: Annotated[list[str] | None, typer.Option("--permission", "-p", help="all that it permits")] = None,
    description: Annotated[str | None, typer.Option(help="what it is for")] = None,
) -> None:
    """Change a role of the tenant's own."""
    session = Session.of(context)
    changes = RoleUpdate(permissions=permissions or UNSET, description=UNSET if description is None else description)
    session.output.made(session.client.update_role(name, changes), f"changed {name}")


@roles.command("delete")
def delete_role(context: typer.Context, name: RoleName, is_agreed: Agreed = False) -> None:
    """Delete a role that nobody has."""
    session = Session.of(context)
    session.confirm(f"Delete the role {name}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_role(name), f"deleted {name}")


@roles.command("bind")
def bind(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="user:NAME, apikey:NAME")],
    role: RoleName,
    is_denied: Annotated[bool, typer.Option("--deny", help="take away what the role permits")] = False,
    in_namespace: Annotated[str, typer.Option("--in", metavar="PATTERN", help="namespaces: dev-*")] = "*",
    functions: Annotated[
        list[str] | None, typer.Option("--function", "-f", metavar="PATTERN", help="only these functions; repeat it")
    ] = None,
) -> None:
    """Give somebody a role, or deny what it permits. A denial wins over whatever allows."""
    session = Session.of(context)
    binding = BindingCreate(
        subject=subject,
        role=role,
        effect="deny" if is_denied else "allow",
        namespace=in_namespace,
        functions=functions or [],
    )
    made = session.client.create_binding(binding)
    session.output.made(made, f"{'denied' if is_denied else 'gave'} {subject} {role} ({made.id})")


@roles.command("unbind")
def unbind(context: typer.Context, binding: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a role or a denial back."""
    session = Session.of(context)
    session.output.made(session.client.delete_binding(id_of(binding)), f"deleted {binding}")


@roles.command("bindings")
def list_bindings(
    context: typer.Context, subject: Annotated[str | None, typer.Option(help="only this one's: user:NAME")] = None
) -> None:
    """List who has which role."""
    session = Session.of(context)
    columns = [
        Column[BindingBody]("ID", lambda binding: binding.id),
        Column[BindingBody]("SUBJECT", lambda binding: binding.subject),
        Column[BindingBody]("EFFECT", lambda binding: binding.effect),
        Column[BindingBody]("ROLE", lambda binding: binding.role),
        Column[BindingBody]("NAMESPACE", lambda binding: binding.namespace),
        Column[BindingBody]("FUNCTIONS", lambda binding: ", ".join(binding.functions) or "*"),
    ]
    session.output.rows(list(session.client.list_bindings(subject=subject)), columns, empty="There are no bindings.")


def _password(what: str, is_piped: bool, *, is_new: bool = False) -> str:
    if is_piped:
        return sys.stdin.readline().rstrip("\r\n")
    try:
        return str(typer.prompt(what, hide_input=True, confirmation_prompt=is_new, err=True))
    except typer.Abort as error:
        raise OrbitError("nobody gave a password", hint="--password-stdin reads it from standard input.") from error
