"""Docs of functions, and links to them."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from msgspec import structs

from constellation.base.clock import Clock
from constellation.base.errors import NotFound
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.docs import Docs, Share, check_docs
from constellation.nova.domain.function import Function
from constellation.nova.store.docs import FunctionDocs
from constellation.nova.store.functions import Functions
from constellation.routes.models.docs import DocsBody, DocsPut, ShareBody, ShareCreate, ShareCreated, SharedDocsBody
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of


class DocsRoutes:
    """Operations on what is written about the functions of the caller's namespace; and the one for whoever has a link."""

    def __init__(self, functions: Functions, docs: FunctionDocs, *, clock: Clock) -> None:
        self._functions, self._docs, self._clock = functions, docs, clock

    async def get_docs(self, call: ApiRequest[None]) -> DocsBody:
        function = await self._function(call)
        return _docs_body(function.name, await self._docs.get(*function.key))

    async def put_docs(self, call: ApiRequest[DocsPut]) -> DocsBody:
        check_docs(call.body.content)
        name = call.params["name"]
        return _docs_body(name, await self._docs.put(*call.scope, name, call.body.content))

    async def delete_docs(self, call: ApiRequest[None]) -> Deleted:
        function = await self._function(call)
        await self._docs.delete(*function.key)
        return Deleted(status="deleted", name=function.name)

    async def create_share(self, call: ApiRequest[ShareCreate]) -> ShareCreated:
        function = await self._function(call)
        await self._docs.get(*function.key)  # a link to nothing would be of no use
        share, token = await self._docs.share(
            function,
            title=call.body.title,
            created_by=call.identity.subject,
            expires_at=self._clock.now() + timedelta(seconds=call.body.expires_in_s),
        )
        return ShareCreated(**structs.asdict(_share_body(share)), path=f"/shared-docs/{token}")

    async def list_shares(self, call: ApiRequest[None]) -> Page[ShareBody]:
        found = await self._docs.shares(await self._function(call), limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _share_body)

    async def delete_share(self, call: ApiRequest[None]) -> Deleted:
        function, text = await self._function(call), call.params["id"]
        try:
            share = UUID(text)
        except ValueError as error:
            raise NotFound("share", text) from error
        await self._docs.unshare(function, share)
        return Deleted(status="deleted", name=str(share))

    async def read_shared_docs(self, call: ApiRequest[None]) -> SharedDocsBody:
        shown = await self._docs.read(call.params["token"], now=self._clock.now())
        return SharedDocsBody(
            function=shown.function_name,
            title=shown.title,
            content=shown.content,
            updated_at=shown.updated_at,
            expires_at=shown.expires_at,
        )

    async def _function(self, call: ApiRequest[object]) -> Function:
        return await self._functions.get(*call.scope, call.params["name"])


def _docs_body(function: str, docs: Docs) -> DocsBody:
    return DocsBody(
        function=function,
        content=docs.content,
        version=docs.version,
        created_at=docs.created_at,
        updated_at=docs.updated_at,
    )


def _share_body(share: Share) -> ShareBody:
    return ShareBody(
        id=share.id,
        function=share.function_name,
        title=share.title,
        created_by=share.created_by,
        expires_at=share.expires_at,
        created_at=share.created_at,
    )
