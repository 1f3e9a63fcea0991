"""Accounts of programs, for who manages users. Their keys are made as any key is."""

from __future__ import annotations

from dataclasses import replace

from msgspec import UNSET

from constellation.nova.api.controlplane.rights import refuse_outranked
from constellation.nova.api.overtaken import until_written
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.people import ServiceAccount, service_account_subject
from constellation.nova.store.bindings import Bindings
from constellation.nova.store.service_accounts import ServiceAccounts
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.people import ServiceAccountBody, ServiceAccountCreate, ServiceAccountUpdate
from constellation.routes.reading import page_of


class ServiceAccountRoutes:
    """Operations on service accounts; nobody touches one that may more than itself."""

    def __init__(self, accounts: ServiceAccounts, bindings: Bindings) -> None:
        self._accounts, self._bindings = accounts, bindings

    async def create_service_account(self, call: ApiRequest[ServiceAccountCreate]) -> ServiceAccountBody:
        # Bindings may have been made before the account was.
        await refuse_outranked(self._bindings, call.identity, service_account_subject(call.body.name))
        return _body(
            await self._accounts.create(call.identity.tenant, call.body.name, description=call.body.description)
        )

    async def list_service_accounts(self, call: ApiRequest[None]) -> Page[ServiceAccountBody]:
        found = await self._accounts.list(call.identity.tenant, limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _body)

    async def get_service_account(self, call: ApiRequest[None]) -> ServiceAccountBody:
        return _body(await self._accounts.get(call.identity.tenant, call.params["name"]))

    async def update_service_account(self, call: ApiRequest[ServiceAccountUpdate]) -> ServiceAccountBody:
        return await until_written(lambda: self._update(call))

    async def delete_service_account(self, call: ApiRequest[None]) -> Deleted:
        account = await self._touched(call)
        await self._accounts.delete(account)
        return Deleted(status="deleted", name=account.name)

    async def _update(self, call: ApiRequest[ServiceAccountUpdate]) -> ServiceAccountBody:
        account, wanted = await self._touched(call), call.body
        changed = replace(
            account,
            description=account.description if wanted.description is UNSET else wanted.description,
            enabled=account.enabled if wanted.enabled is UNSET else wanted.enabled,
        )
        return _body(account if changed == account else await self._accounts.update(changed))

    async def _touched(self, call: ApiRequest[object]) -> ServiceAccount:
        account = await self._accounts.get(call.identity.tenant, call.params["name"])
        await refuse_outranked(self._bindings, call.identity, account.subject)
        return account


def _body(account: ServiceAccount) -> ServiceAccountBody:
    return ServiceAccountBody(
        name=account.name,
        tenant=account.tenant,
        subject=account.subject,
        description=account.description,
        enabled=account.enabled,
        created_at=account.created_at,
        updated_at=account.updated_at,
    )
