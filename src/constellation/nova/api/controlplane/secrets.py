"""Secrets of the caller's namespace, and the platform's master keys."""

from __future__ import annotations

from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.scope import check_platform
from constellation.nova.domain.secret import Secret, check_secret_name, check_value
from constellation.nova.secrets.vault import Vault
from constellation.nova.store.secrets import MasterKey, Secrets
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page, page_facts
from constellation.routes.models.secrets import MasterKeyBody, SecretBody, SecretCreate, SecretPut
from constellation.routes.reading import page_of


class SecretRoutes:
    """Operations on secrets: values come in and never go out."""

    def __init__(self, secrets: Secrets, vault: Vault) -> None:
        self._secrets, self._vault = secrets, vault

    async def create_secret(self, call: ApiRequest[SecretCreate]) -> SecretBody:
        name = check_secret_name(call.body.name)
        return _body(await self._vault.create((*call.scope, name), check_value(call.body.value)))

    async def put_secret(self, call: ApiRequest[SecretPut]) -> SecretBody:
        name = check_secret_name(call.params["name"])
        return _body(await self._vault.put((*call.scope, name), check_value(call.body.value)))

    async def get_secret(self, call: ApiRequest[None]) -> SecretBody:
        return _body(await self._secrets.get(*call.scope, call.params["name"]))

    async def list_secrets(self, call: ApiRequest[None]) -> Page[SecretBody]:
        found = await self._secrets.list(
            *call.scope,
            search=call.query.get("search") or None,
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _body)

    async def delete_secret(self, call: ApiRequest[None]) -> Deleted:
        name = call.params["name"]
        await self._secrets.delete(*call.scope, name)
        return Deleted(status="deleted", name=name)

    async def list_master_keys(self, call: ApiRequest[None]) -> Page[MasterKeyBody]:
        check_platform(call.identity, "see the master keys")
        keys = await self._vault.master_keys()
        window = call.window
        shown = [self._key_body(key) for key in keys[window.offset : window.offset + window.limit]]
        facts = page_facts(limit=window.limit, offset=window.offset, returned=len(shown), total=len(keys))
        return Page(items=shown, pagination=facts)

    async def rotate_master_key(self, call: ApiRequest[None]) -> MasterKeyBody:
        check_platform(call.identity, "rotate the master key")
        version = await self._vault.rotate()
        return next(self._key_body(key) for key in await self._vault.master_keys() if key.version == version)

    def _key_body(self, key: MasterKey) -> MasterKeyBody:
        return MasterKeyBody(
            version=key.version,
            is_newest=key.version == self._vault.newest,
            is_present=self._vault.has(key.version),
            secrets_count=key.secrets_count,
            created_at=key.created_at,
        )


def _body(secret: Secret) -> SecretBody:
    return SecretBody(
        name=secret.name,
        version=secret.version,
        key_version=secret.key_version,
        functions=list(secret.functions),
        functions_count=secret.functions_count,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
    )
