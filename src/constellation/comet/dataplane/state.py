"""What functions keep, as their owners see and change it."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from constellation.base.errors import NotFound
from constellation.comet.dataplane.request import DataRequest, function_of
from constellation.comet.executor.executor import Executor
from constellation.nova.store.state import State, StateEntry, Store, check_store_name
from constellation.routes.models.executions import StateKeyBody, StatePut, StateValueBody, StateWritten
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of

_MAX_VERSION = 2**53 - 1


class StateRoutes:
    """Operations on a function's store, and on those that the namespace shares."""

    def __init__(self, state: State, executor: Executor) -> None:
        self._state, self._executor = state, executor

    async def list_state(self, request: DataRequest) -> Page[StateKeyBody]:
        return await self._list(request, await self._own(request))

    async def get_state(self, request: DataRequest) -> StateValueBody:
        return await self._get(request, await self._own(request))

    async def put_state(self, request: DataRequest) -> StateWritten:
        return await self._put(request, await self._own(request))

    async def delete_state(self, request: DataRequest) -> None:
        await self._delete(request, await self._own(request))

    async def list_shared_state(self, request: DataRequest) -> Page[StateKeyBody]:
        return await self._list(request, _shared(request))

    async def get_shared_state(self, request: DataRequest) -> StateValueBody:
        return await self._get(request, _shared(request))

    async def put_shared_state(self, request: DataRequest) -> StateWritten:
        return await self._put(request, _shared(request))

    async def delete_shared_state(self, request: DataRequest) -> None:
        await self._delete(request, _shared(request))

    async def _own(self, request: DataRequest) -> Store:
        function = await function_of(request, self._executor)
        return Store(tenant=request.tenant, namespace=request.namespace, name=function.name)

    async def _list(self, request: DataRequest, store: Store) -> Page[StateKeyBody]:
        window = request.window
        found = await self._state.list(
            store, prefix=request.query.get("prefix", ""), limit=window.limit, offset=window.offset
        )
        return page_of(found, window, key_body_of)

    async def _get(self, request: DataRequest, store: Store) -> StateValueBody:
        key = request.params["key"]
        entry = await self._state.get(store, key)
        if entry is None or entry.value is None:
            raise NotFound("key", key[:128])
        return _value(entry)

    async def _put(self, request: DataRequest, store: Store) -> StateWritten:
        wanted: StatePut = request.json(StatePut)
        version = await self._state.put(
            store,
            request.params["key"],
            bytes(wanted.value),
            ttl_s=None if wanted.ttl_s is UNSET else wanted.ttl_s,
            if_version=None if wanted.if_version is UNSET else wanted.if_version,
        )
        return StateWritten(version=version)

    async def _delete(self, request: DataRequest, store: Store) -> None:
        key = request.params["key"]
        if not await self._state.delete(
            store, key, if_version=request.query_number("if_version", default=None, low=1, high=_MAX_VERSION)
        ):
            raise NotFound("key", key[:128])


def _shared(request: DataRequest) -> Store:
    name = check_store_name(request.params["store"])
    return Store(tenant=request.tenant, namespace=request.namespace, name=name, is_shared=True)


def key_body_of(entry: StateEntry) -> StateKeyBody:
    """Return a key as it is shown, without its value."""
    return StateKeyBody(
        key=entry.key,
        version=entry.version,
        size_bytes=entry.size_bytes,
        expires_at=entry.expires_at,
        updated_at=entry.updated_at,
    )


def _value(entry: StateEntry) -> StateValueBody:
    facts = msgspec.structs.asdict(key_body_of(entry))
    return StateValueBody(**facts, value=Raw(entry.value or b"null"))
