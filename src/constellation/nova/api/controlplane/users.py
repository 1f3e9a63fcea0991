"""Users of the caller's tenant, for who manages them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import UNSET

from constellation.base.clock import Clock
from constellation.base.errors import InvalidRequest
from constellation.base.ids import uuid7
from constellation.nova.api.controlplane.rights import refuse_outranked, refuse_unheld
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.config.oidc import Provider
from constellation.nova.domain.access import ANY
from constellation.nova.domain.grants import Effect
from constellation.nova.domain.names import DEFAULT_TENANT
from constellation.nova.domain.people import Binding, User, check_password, check_user_name, user_subject
from constellation.nova.domain.scope import check_platform, check_user_visible
from constellation.nova.store.bindings import Bindings
from constellation.nova.store.passwords import Passwords
from constellation.nova.store.users import Users
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.people import Done, PasswordReset, UserBody, UserCreate, UserUpdate
from constellation.routes.reading import page_of


class UserRoutes:
    """Operations on users; nobody touches one who may more than itself. `providers`: where users may log in."""

    def __init__(
        self,
        users: Users,
        bindings: Bindings,
        passwords: Passwords,
        *,
        clock: Clock,
        providers: Sequence[Provider] = (),
    ) -> None:
        self._users, self._bindings, self._passwords, self._clock = users, bindings, passwords, clock
        self._providers = {provider.name: provider for provider in providers}

    async def create_user(self, call: ApiRequest[UserCreate]) -> UserBody:
        body, identity = call.body, call.identity
        name = check_user_name(body.name)
        issuer = self._issuer(call)
        if body.password is not UNSET:
            check_password(body.password, user=name)
        if body.is_platform:
            check_platform(identity, "make a user of every tenant")
        now = self._clock.now()
        user = User(
            tenant=identity.tenant,
            name=name,
            display_name=body.display_name,
            is_platform=body.is_platform,
            enabled=True,
            version=1,
            created_at=now,
            updated_at=now,
        )
        await refuse_outranked(
            self._bindings, identity, user.subject
        )  # bindings may have been made before the user was
        binding = None
        if body.role is not None:
            await refuse_unheld(self._bindings, identity, body.role, namespace=ANY)
            binding = first_binding(user, body.role, by=identity.subject)
        password_hash = None if body.password is UNSET else await self._passwords.hash(body.password)
        made = await self._users.create(user, password_hash=password_hash, binding=binding, issuer=issuer)
        return _user_body(made)

    async def list_users(self, call: ApiRequest[None]) -> Page[UserBody]:
        found = await self._users.list(
            call.identity.tenant,
            with_platform=call.identity.is_platform_admin,
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _user_body)

    async def get_user(self, call: ApiRequest[None]) -> UserBody:
        return _user_body(await self._read(call))

    async def update_user(self, call: ApiRequest[UserUpdate]) -> UserBody:
        return await until_written(lambda: self._update(call))

    async def delete_user(self, call: ApiRequest[None]) -> Deleted:
        user = await self._touched(call)
        await self._users.delete(user)
        return Deleted(status="deleted", name=user.name)

    async def reset_password(self, call: ApiRequest[PasswordReset]) -> Done:
        user = await self._touched(call)
        new = check_password(call.body.password, user=user.name)
        await self._users.set_password(user.tenant, user.name, await self._passwords.hash(new))
        return Done(status="changed")

    async def end_user_sessions(self, call: ApiRequest[None]) -> Done:
        user = await self._touched(call)
        await self._users.end_sessions(user.tenant, user.name)
        return Done(status="logged out")

    def _issuer(self, call: ApiRequest[UserCreate]) -> str | None:
        """Return whose provider a new user is to log in at, None for one with a password."""
        body = call.body
        if (body.password is UNSET) == (body.provider is UNSET):
            raise InvalidRequest("a user needs either a password or a provider to log in at", field="password")
        if body.provider is UNSET:
            return None
        provider = self._providers.get(body.provider)
        if provider is None:
            raise InvalidRequest(
                f"there is no login provider {body.provider!r}; GET /auth/providers lists them", field="provider"
            )
        home = DEFAULT_TENANT if provider.tenant == ANY else provider.tenant
        if home and home != call.identity.tenant:
            raise InvalidRequest(f"who logs in at {provider.name} is of tenant {home}", field="provider")
        return provider.issuer

    async def _update(self, call: ApiRequest[UserUpdate]) -> UserBody:
        user, wanted = await self._touched(call), call.body
        changed = replace(
            user,
            display_name=user.display_name if wanted.display_name is UNSET else wanted.display_name,
            enabled=user.enabled if wanted.enabled is UNSET else wanted.enabled,
        )
        return _user_body(user if changed == user else await self._users.update(changed))

    async def _read(self, call: ApiRequest[object]) -> User:
        user = await self._users.get(call.identity.tenant, call.params["name"].lower())
        check_user_visible(call.identity, user)
        return user

    async def _touched(self, call: ApiRequest[object]) -> User:
        """Return a user that the caller may change: whoever sets its password may all that it may."""
        user = await self._read(call)
        await refuse_outranked(self._bindings, call.identity, user.subject)
        return user


def first_binding(user: User, role: str, *, by: str) -> Binding:
    """Return the binding that gives a new user a role wherever it may act."""
    return Binding(
        tenant=user.tenant,
        id=uuid7(),
        subject=user_subject(user.name, is_platform=user.is_platform),
        role=role,
        effect=Effect.ALLOW,
        namespace=ANY,
        functions=(),
        created_by=by,
    )


def _user_body(user: User) -> UserBody:
    return UserBody(
        name=user.name,
        tenant=user.tenant,
        subject=user.subject,
        display_name=user.display_name,
        is_platform=user.is_platform,
        enabled=user.enabled,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
