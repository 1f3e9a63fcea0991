"""Logins, users, roles and bindings as functions from arguments to a `Call`."""

from __future__ import annotations

from uuid import UUID

from constellation.client.call import Call, call, page_call
from constellation.routes.models import people as p
from constellation.routes.models.access import ApiKeyCreated
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def login(who: p.Login) -> Call[p.LoggedInBody]:
    """Begin a session; its token is a credential. 401 for a wrong user or password, 429 `too_many_logins` after many."""
    return call("login", p.LoggedInBody, body=who)


def list_login_providers() -> Call[p.LoginProviders]:
    """Where people log in besides with a password."""
    return call("list_login_providers", p.LoginProviders)


def begin_oidc_login(provider: str, login: p.OidcBegin) -> Call[p.OidcBegun]:
    """Get the address that a browser opens to log in at a provider. `not_found` (404) when there is no such one."""
    return call("begin_oidc_login", p.OidcBegun, params={"provider": provider}, body=login)


def finish_oidc_login(login: p.OidcFinish) -> Call[p.LoggedInBody]:
    """Begin a session with the code that the browser brought; its token is a credential."""
    return call("finish_oidc_login", p.LoggedInBody, body=login)


def logout() -> Call[p.LoggedOut]:
    """End the session whose token this client has."""
    return call("logout", p.LoggedOut)


def change_password(change: p.PasswordChange) -> Call[p.Done]:
    """Change the caller's own password; its other sessions end."""
    return call("change_password", p.Done, body=change)


def list_sessions(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[p.SessionBody]]:
    """The caller's own sessions, newest first."""
    return page_call("list_sessions", p.SessionBody, page_size=page_size)


def end_session(session: UUID) -> Call[Deleted]:
    """End one of the caller's own sessions."""
    return call("end_session", Deleted, params={"id": str(session)})


def create_user(user: p.UserCreate) -> Call[p.UserBody]:
    """Make a user of the caller's tenant. `already_exists` (409) when the name is taken."""
    return call("create_user", p.UserBody, body=user)


def list_users(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[p.UserBody]]:
    """Users of the tenant by name."""
    return page_call("list_users", p.UserBody, page_size=page_size)


def get_user(name: str) -> Call[p.UserBody]:
    """One user."""
    return call("get_user", p.UserBody, params={"name": name})


def update_user(name: str, changes: p.UserUpdate) -> Call[p.UserBody]:
    """Rename, enable or disable a user; who is disabled is logged out everywhere."""
    return call("update_user", p.UserBody, params={"name": name}, body=changes)


def delete_user(name: str) -> Call[Deleted]:
    """Delete a user with its sessions and roles."""
    return call("delete_user", Deleted, params={"name": name})


def reset_password(name: str, new: p.PasswordReset) -> Call[p.Done]:
    """Set another user's password; its sessions end."""
    return call("reset_password", p.Done, params={"name": name}, body=new)


def end_user_sessions(name: str) -> Call[p.Done]:
    """Log a user out everywhere."""
    return call("end_user_sessions", p.Done, params={"name": name})


def my_permissions() -> Call[p.MyPermissions]:
    """What the caller may do in this namespace."""
    return call("my_permissions", p.MyPermissions)


def list_permissions() -> Call[p.Permissions]:
    """Every permission, with the routes that ask for it."""
    return call("list_permissions", p.Permissions)


def list_roles(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[p.RoleBody]]:
    """Built-in roles, then the tenant's own by name."""
    return page_call("list_roles", p.RoleBody, page_size=page_size)


def create_role(role: p.RoleCreate) -> Call[p.RoleBody]:
    """Make a role of the tenant's own."""
    return call("create_role", p.RoleBody, body=role)


def get_role(name: str) -> Call[p.RoleBody]:
    """One role."""
    return call("get_role", p.RoleBody, params={"name": name})


def update_role(name: str, changes: p.RoleUpdate) -> Call[p.RoleBody]:
    """Change what a role of the tenant's own permits; whoever has it has the change within a second."""
    return call("update_role", p.RoleBody, params={"name": name}, body=changes)


def delete_role(name: str) -> Call[Deleted]:
    """Delete a role that nobody has; 409 otherwise."""
    return call("delete_role", Deleted, params={"name": name})


def list_bindings(*, subject: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[p.BindingBody]]:
    """Who has which role, newest first."""
    return page_call("list_bindings", p.BindingBody, query={"subject": subject}, page_size=page_size)


def create_binding(binding: p.BindingCreate) -> Call[p.BindingBody]:
    """Give somebody a role, or deny what it permits."""
    return call("create_binding", p.BindingBody, body=binding)


def get_binding(binding: UUID) -> Call[p.BindingBody]:
    """One binding."""
    return call("get_binding", p.BindingBody, params={"id": str(binding)})


def delete_binding(binding: UUID) -> Call[Deleted]:
    """Take a role or a denial back."""
    return call("delete_binding", Deleted, params={"id": str(binding)})


def rotate_apikey(name: str) -> Call[ApiKeyCreated]:
    """Put a new key under a name; the one before is good no more."""
    return call("rotate_apikey", ApiKeyCreated, params={"name": name})


def create_service_account(account: p.ServiceAccountCreate) -> Call[p.ServiceAccountBody]:
    """Make an account for a program. `already_exists` (409) when the name is taken."""
    return call("create_service_account", p.ServiceAccountBody, body=account)


def list_service_accounts(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[p.ServiceAccountBody]]:
    """Service accounts by name."""
    return page_call("list_service_accounts", p.ServiceAccountBody, page_size=page_size)


def get_service_account(name: str) -> Call[p.ServiceAccountBody]:
    """One service account."""
    return call("get_service_account", p.ServiceAccountBody, params={"name": name})


def update_service_account(name: str, changes: p.ServiceAccountUpdate) -> Call[p.ServiceAccountBody]:
    """Describe, enable or disable a service account; no key of a disabled one is good."""
    return call("update_service_account", p.ServiceAccountBody, params={"name": name}, body=changes)


def delete_service_account(name: str) -> Call[Deleted]:
    """Delete a service account with its keys and roles."""
    return call("delete_service_account", Deleted, params={"name": name})
