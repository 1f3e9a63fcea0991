"""What was called and what it printed: pages of the invocation log, and the log as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec

from constellation.base.errors import ConstellationError, InvalidRequest, NotFound
from constellation.comet.dataplane import events
from constellation.comet.dataplane.jobs import raw
from constellation.comet.dataplane.request import Answer, DataRequest, function_of
from constellation.comet.executor.executor import Executor
from constellation.comet.functions import Wakeup
from constellation.nova.domain.invocation import InvocationRecord
from constellation.nova.store.page import COUNT_LIMIT
from constellation.routes.models.invocations import InvocationBody, LogBody
from constellation.routes.models.paging import Page, page_facts
from constellation.routes.reading import page_of

FOLLOW_POLL_S = 5.0  # a notification may be lost; the ping goes out at the same pace
_BACKLOG_PAGE = 500
MAX_SEARCH_CHARS = 200
OK, FAILED = "ok", "failed"


class RecordPage(Protocol):
    @property
    def items(self) -> Sequence[InvocationRecord]: ...

    @property
    def total(self) -> int: ...

    @property
    def total_is_exact(self) -> bool: ...

    @property
    def has_more(self) -> bool: ...


class Tail(Protocol):
    async def poll(self) -> Sequence[InvocationRecord]:
        """Return what was written since the last call, each record once."""
        ...


class RecordBook(Protocol):
    """The invocation log of all scopes; each question names its own."""

    async def get(self, tenant: str, namespace: str, request_id: UUID) -> InvocationRecord: ...

    async def list(
        self,
        tenant: str,
        namespace: str,
        *,
        function_name: str | None = ...,
        status: str | None = ...,
        is_error: bool | None = ...,
        since: datetime | None = ...,
        until: datetime | None = ...,
        search: str | None = ...,
        before: UUID | None = ...,
        limit: int = ...,
        offset: int = ...,
    ) -> RecordPage: ...

    async def follow(self, tenant: str, namespace: str, *, function_name: str | None = ...) -> Tail: ...


Body = TypeVar("Body")
Subscribe = Callable[[], AbstractContextManager[Wakeup]]


class HistoryRoutes:
    """Operations on the invocation log of the caller's scope."""

    def __init__(self, records: RecordBook, executor: Executor, subscribe: Subscribe) -> None:
        self._records, self._executor, self._subscribe = records, executor, subscribe

    async def list_invocations(self, request: DataRequest) -> Page[InvocationBody]:
        return await self._page(request, request.query_function(), _invocation)

    async def list_function_invocations(self, request: DataRequest) -> Page[InvocationBody]:
        return await self._page(request, (await function_of(request, self._executor)).name, _invocation)

    async def list_logs(self, request: DataRequest) -> Page[LogBody]:
        return await self._page(request, (await function_of(request, self._executor)).name, _log)

    async def follow_logs(self, request: DataRequest) -> Answer:
        function, since = (await function_of(request, self._executor)).name, request.query_instant("since")
        headers, kind = events.HEADERS, events.CONTENT_TYPE
        # From here on nothing that is written is missed; what was written before is the backlog's.
        tail = await self._records.follow(request.tenant, request.namespace, function_name=function)
        return Answer(body=self._follow(request, function, since, tail), headers=headers, content_type=kind)

    async def _page(
        self, request: DataRequest, function: str | None, shape: Callable[[InvocationRecord], Body]
    ) -> Page[Body]:
        window, status = request.window, request.query_word("status")
        since, until = request.query_instant("since"), request.query_instant("until")
        search, request_id = _search(request), request.query_id("request_id")
        if request_id is not None:

            def is_wanted(record: InvocationRecord) -> bool:
                return (
                    function in (None, record.function_name)
                    and (status is None or status == record.status or (status == FAILED and record.status != OK))
                    and (since is None or record.started_at >= since)
                    and (until is None or record.started_at <= until)
                    and (search is None or search.lower() in f"{record.log}\n{record.error or ''}".lower())
                )

            return await self._one(request, request_id, is_wanted, shape)
        found = await self._records.list(
            request.tenant,
            request.namespace,
            function_name=function,
            status=None if status == FAILED else status,
            is_error=True if status == FAILED else None,
            since=since,
            until=until,
            search=search,
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, shape)

    async def _one(
        self,
        request: DataRequest,
        request_id: UUID,
        is_wanted: Callable[[InvocationRecord], bool],
        shape: Callable[[InvocationRecord], Body],
    ) -> Page[Body]:
        items: list[Body] = []
        try:
            record = await self._records.get(request.tenant, request.namespace, request_id)
        except NotFound:
            record = None
        if record is not None and is_wanted(record):
            items.append(shape(record))
        window = request.window
        shown = items[window.offset :]
        facts = page_facts(limit=window.limit, offset=window.offset, returned=len(shown), total=len(items))
        return Page(items=shown, pagination=facts)

    async def _follow(
        self, request: DataRequest, function: str, since: datetime | None, tail: Tail
    ) -> AsyncIterator[bytes]:
        sent: set[UUID] = set()  # of the backlog: the tail's overlap may hold some of it
        with self._subscribe() as wakeup:
            try:
                if since is not None:
                    for record in await self._backlog(request, function, since):
                        sent.add(record.id)
                        yield _event(record)
                while True:
                    for record in await tail.poll():
                        if record.id not in sent:
                            yield _event(record)
                    if not await wakeup.wait(within_s=FOLLOW_POLL_S):
                        sent.clear()  # a whole poll without news: the overlap is over
                        yield events.PING
            except ConstellationError as error:
                yield events.event(msgspec.json.encode(error.problem()).decode(), kind="error")

    async def _backlog(self, request: DataRequest, function: str, since: datetime) -> list[InvocationRecord]:
        """Return what began at or after an instant, oldest first; at most the newest `COUNT_LIMIT`."""
        found: list[InvocationRecord] = []
        before: UUID | None = None
        while len(found) < COUNT_LIMIT:
            page = await self._records.list(
                request.tenant,
                request.namespace,
                function_name=function,
                since=since,
                before=before,
                limit=_BACKLOG_PAGE,
            )
            found.extend(page.items)
            if not page.has_more:
                break
            before = page.items[-1].id
        found.reverse()
        return found


def _search(request: DataRequest) -> str | None:
    text = request.query.get("search")
    if text is not None and not 1 <= len(text) <= MAX_SEARCH_CHARS:
        raise InvalidRequest(f"search must have 1 to {MAX_SEARCH_CHARS} characters", field="search")
    return text


def _event(record: InvocationRecord) -> bytes:
    return events.event(msgspec.json.encode(_log(record)).decode(), kind="log", id=str(record.id))


def _invocation(record: InvocationRecord) -> InvocationBody:
    return InvocationBody(
        id=record.id,
        function=record.function_name,
        function_version=record.function_version,
        runtime=record.runtime,
        node=record.node,
        started_at=record.started_at,
        duration_ms=record.duration_ms,
        queued_ms=record.queued_ms,
        cold_start=record.cold_start,
        status=record.status,
        error=raw(record.error),
        input_bytes=record.input_bytes,
        output_bytes=record.output_bytes,
        source=record.source,
    )


def _log(record: InvocationRecord) -> LogBody:
    return LogBody(
        id=record.id,
        function=record.function_name,
        started_at=record.started_at,
        duration_ms=record.duration_ms,
        status=record.status,
        error=raw(record.error),
        log=record.log,
        log_truncated=record.log_truncated,
    )
