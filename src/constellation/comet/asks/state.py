"""Answers what functions ask of their state."""

from __future__ import annotations

from typing import Any

import msgspec

from constellation.comet.asks.question import Question
from constellation.comet.dataplane.state import key_body_of
from constellation.nova.store.state import State, Store, check_store_name

_LIST_DEFAULT, _LIST_MOST = 100, 1000


class StateAnswers:
    """The store is the function's own, or one that its namespace shares."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def get(self, question: Question) -> bytes:
        entry = await self._state.get(_store(question), question.ask.key)
        if entry is None:
            return b"null"
        return msgspec.json.encode(
            {"value": msgspec.Raw(entry.value or b"null"), "version": entry.version, "expires_at": entry.expires_at}
        )

    async def put(self, question: Question) -> bytes:
        ask = question.ask
        version = await self._state.put(
            _store(question),
            ask.key,
            question.json(),
            ttl_s=ask.ttl_ms / 1000 if ask.ttl_ms else None,
            if_version=_version(ask),
        )
        return msgspec.json.encode({"version": version})

    async def delete(self, question: Question) -> bytes:
        ask = question.ask
        is_deleted = await self._state.delete(_store(question), ask.key, if_version=_version(ask))
        return msgspec.json.encode({"deleted": is_deleted})

    async def list(self, question: Question) -> bytes:
        ask = question.ask
        limit = min(ask.limit or _LIST_DEFAULT, _LIST_MOST)
        page = await self._state.list(_store(question), prefix=ask.key, after=ask.after, limit=limit)
        return msgspec.json.encode(
            {"items": list(map(key_body_of, page.items)), "next": page.items[-1].key if page.has_more else None}
        )


def _store(question: Question) -> Store:
    spec, shared = question.spec, question.ask.name
    return Store(
        tenant=spec.tenant,
        namespace=spec.namespace,
        name=check_store_name(shared) if shared else spec.function_name,
        is_shared=bool(shared),
    )


def _version(ask: Any) -> int | None:
    return min(ask.if_version, 2**63 - 1) if ask.HasField("if_version") else None
