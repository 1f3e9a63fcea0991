"""Who may call, and what: logins, users, roles and who has them."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import people as p
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, Route, nova

P = Permission
_USER, _ROLE, _ACCOUNT = "/users/{name}", "/rbac/roles/{name}", "/service-accounts/{name}"

PEOPLE: tuple[Route, ...] = (
    nova("login", "POST", "/auth/login", P.PUBLIC, "Begin a session with a user's password",
         request=p.Login, response=p.LoggedInBody, max_body_bytes=16 << 10),
    nova("list_login_providers", "GET", "/auth/providers", P.PUBLIC, "Where people log in besides here",
         response=p.LoginProviders),
    nova("begin_oidc_login", "POST", "/auth/oidc/{provider}/login", P.PUBLIC,
         "Get the address at which a browser logs in at a provider of OpenID Connect", request=p.OidcBegin,
         response=p.OidcBegun, max_body_bytes=16 << 10),
    nova("return_oidc_login", "GET", "/auth/oidc/{provider}/callback", P.PUBLIC,
         "Where a provider sends the browser back to: on to the program that began the login, or its code is shown",
         status=303, media_types=("text/plain",), takes_more=True,
         query=(Query(name="state"), Query(name="code"), Query(name="error"), Query(name="iss"))),
    nova("finish_oidc_login", "POST", "/auth/oidc/token", P.PUBLIC, "Begin a session with the code of a login at a provider",
         request=p.OidcFinish, response=p.LoggedInBody, max_body_bytes=16 << 10),
    nova("logout", "POST", "/auth/logout", P.AUTHENTICATED, "End the session that the request came with",
         response=p.LoggedOut),
    nova("end_oidc_sessions", "POST", "/auth/oidc/{provider}/backchannel-logout", P.PUBLIC,
         "Where a provider tells that sessions are over, by a signed logout token", request=p.OidcLogout, response=p.Done,
         takes_form=True, max_body_bytes=64 << 10),
    nova("change_password", "PUT", "/auth/password", P.AUTHENTICATED, "Change the caller's own password",
         request=p.PasswordChange, response=p.Done, max_body_bytes=16 << 10),
    nova("list_sessions", "GET", "/auth/sessions", P.AUTHENTICATED, "The caller's own sessions, newest first",
         response=Page[p.SessionBody], query=PAGING),
    nova("end_session", "DELETE", "/auth/sessions/{id}", P.AUTHENTICATED, "End one of the caller's own sessions",
         response=Deleted),
    nova("create_user", "POST", "/users", P.USER_MANAGE, "Make a user", status=201, request=p.UserCreate,
         response=p.UserBody, max_body_bytes=16 << 10),
    nova("list_users", "GET", "/users", P.USER_MANAGE, "Users of the tenant by name", response=Page[p.UserBody],
         query=PAGING),
    nova("get_user", "GET", _USER, P.USER_MANAGE, "One user", response=p.UserBody),
    nova("update_user", "PATCH", _USER, P.USER_MANAGE, "Rename, enable or disable a user", request=p.UserUpdate,
         response=p.UserBody),
    nova("delete_user", "DELETE", _USER, P.USER_MANAGE, "Delete a user with its sessions and roles", response=Deleted),
    nova("reset_password", "PUT", _USER + "/password", P.USER_MANAGE, "Set another user's password",
         request=p.PasswordReset, response=p.Done, max_body_bytes=16 << 10),
    nova("end_user_sessions", "DELETE", _USER + "/sessions", P.USER_MANAGE, "Log a user out everywhere", response=p.Done),
    nova("create_service_account", "POST", "/service-accounts", P.USER_MANAGE, "Make an account for a program", status=201,
         request=p.ServiceAccountCreate, response=p.ServiceAccountBody),
    nova("list_service_accounts", "GET", "/service-accounts", P.USER_MANAGE, "Service accounts by name",
         response=Page[p.ServiceAccountBody], query=PAGING),
    nova("get_service_account", "GET", _ACCOUNT, P.USER_MANAGE, "One service account", response=p.ServiceAccountBody),
    nova("update_service_account", "PATCH", _ACCOUNT, P.USER_MANAGE, "Describe, enable or disable a service account",
         request=p.ServiceAccountUpdate, response=p.ServiceAccountBody),
    nova("delete_service_account", "DELETE", _ACCOUNT, P.USER_MANAGE, "Delete a service account with its keys and roles",
         response=Deleted),
    nova("my_permissions", "GET", "/rbac/my-permissions", P.AUTHENTICATED, "What the caller may do in this namespace",
         response=p.MyPermissions),
    nova("list_permissions", "GET", "/rbac/permissions", P.AUTHENTICATED,
         "Every permission, with the routes that ask for it", response=p.Permissions),
    nova("list_roles", "GET", "/rbac/roles", P.RBAC_MANAGE, "Built-in roles, then the tenant's own by name",
         response=Page[p.RoleBody], query=PAGING),
    nova("create_role", "POST", "/rbac/roles", P.RBAC_MANAGE, "Make a role", status=201, request=p.RoleCreate,
         response=p.RoleBody),
    nova("get_role", "GET", _ROLE, P.RBAC_MANAGE, "One role", response=p.RoleBody),
    nova("update_role", "PATCH", _ROLE, P.RBAC_MANAGE, "Change what a role permits", request=p.RoleUpdate,
         response=p.RoleBody),
    nova("delete_role", "DELETE", _ROLE, P.RBAC_MANAGE, "Delete a role that nobody has", response=Deleted),
    nova("list_bindings", "GET", "/rbac/bindings", P.RBAC_MANAGE, "Who has which role, newest first",
         response=Page[p.BindingBody], query=(*PAGING, Query(name="subject", about="only this one's: user:NAME"))),
    nova("create_binding", "POST", "/rbac/bindings", P.RBAC_MANAGE, "Give somebody a role, or deny what it permits",
         status=201, request=p.BindingCreate, response=p.BindingBody),
    nova("get_binding", "GET", "/rbac/bindings/{id}", P.RBAC_MANAGE, "One binding", response=p.BindingBody),
    nova("delete_binding", "DELETE", "/rbac/bindings/{id}", P.RBAC_MANAGE, "Take a role or a denial back",
         response=Deleted),
)  # fmt: skip
