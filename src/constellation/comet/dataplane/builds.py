"""Builds: looked up, listed, followed, cancelled, put in line again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

import anyio
import msgspec

from constellation.base.errors import ConstellationError, InvalidRequest, Overloaded
from constellation.comet.dataplane import events
from constellation.comet.dataplane.request import Answer, DataRequest, function_of
from constellation.comet.executor.executor import Executor
from constellation.comet.functions import Wakeup
from constellation.nova.domain.build import Build, BuildState
from constellation.routes.models.builds import BuildBody, BuildLogPart
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of

FOLLOW_POLL_S = 5.0  # a notification may be lost; the ping goes out at the same pace
FOLLOW_S = 3600.0  # chosen: longer than a build takes that waited its turn; who still wants it asks again
MAX_FOLLOWERS = 64  # chosen: each reads the database four times a second at most
_TEXT = "text/plain; charset=utf-8"
_FLAGS = {"1": True, "true": True, "0": False, "false": False}


class BuildPage(Protocol):
    @property
    def items(self) -> Sequence[Build]: ...

    @property
    def total(self) -> int: ...

    @property
    def total_is_exact(self) -> bool: ...


class BuildBook(Protocol):
    """The builds of all scopes; each question names its own."""

    async def get(self, tenant: str, namespace: str, build_id: UUID) -> Build: ...

    async def list(
        self, tenant: str, function_id: UUID, *, state: BuildState | None = ..., limit: int = ..., offset: int = ...
    ) -> BuildPage: ...

    async def log_after(self, build: Build, part: int) -> tuple[bytes, int]: ...

    async def cancel(self, tenant: str, namespace: str, build_id: UUID, *, subject: str) -> Build: ...

    async def retry(self, tenant: str, namespace: str, function_name: str) -> Build: ...


Subscribe = Callable[[], AbstractContextManager[Wakeup]]


class BuildRoutes:
    """Operations on builds of the caller's scope."""

    def __init__(self, builds: BuildBook, executor: Executor, subscribe: Subscribe) -> None:
        self._builds, self._executor, self._subscribe = builds, executor, subscribe
        self._followers = 0

    async def list_function_builds(self, request: DataRequest) -> Page[BuildBody]:
        function = await function_of(request, self._executor)
        window = request.window
        found = await self._builds.list(
            function.tenant,
            function.id,
            state=request.query_choice("state", BuildState),
            limit=window.limit,
            offset=window.offset,
        )
        return page_of(found, window, body_of)

    async def retry_build(self, request: DataRequest) -> BuildBody:
        return body_of(await self._builds.retry(request.tenant, request.namespace, request.function))

    async def get_build(self, request: DataRequest) -> BuildBody:
        return body_of(await self._get(request))

    async def build_log(self, request: DataRequest) -> Answer:
        build, is_followed = await self._get(request), _flag(request, "follow")
        if not is_followed:
            text, _ = await self._builds.log_after(build, 0)
            return Answer(body=text, content_type=_TEXT)
        if self._followers >= MAX_FOLLOWERS:
            raise Overloaded("followers of builds", limit=MAX_FOLLOWERS)
        return Answer(body=self._follow(build), headers=events.HEADERS, content_type=events.CONTENT_TYPE)

    async def cancel_build(self, request: DataRequest) -> BuildBody:
        subject = request.caller.identity.subject
        return body_of(await self._builds.cancel(request.tenant, request.namespace, request.id(), subject=subject))

    async def _get(self, request: DataRequest) -> Build:
        return await self._builds.get(request.tenant, request.namespace, request.id())

    async def _follow(self, build: Build) -> AsyncIterator[bytes]:
        """Yield the log from its beginning until the build ends, and then what became of it."""
        pieces, part, until = events.TextPieces(), 0, anyio.current_time() + FOLLOW_S
        self._followers += 1
        try:
            with self._subscribe() as wakeup:
                while True:
                    # The state first: what a build printed is stored before it ends.
                    build = await self._builds.get(build.tenant, build.namespace, build.id)
                    text, part = await self._builds.log_after(build, part)
                    shown = pieces.feed(text, is_last=build.state.is_over)
                    if shown:
                        yield events.event(msgspec.json.encode(BuildLogPart(text=shown)).decode(), kind="log")
                    if build.state.is_over:
                        yield events.event(msgspec.json.encode(body_of(build)).decode(), kind="done")
                        return
                    if anyio.current_time() >= until:
                        return
                    if not text and not await wakeup.wait(within_s=FOLLOW_POLL_S):
                        yield events.PING
        except ConstellationError as error:
            yield events.event(msgspec.json.encode(error.problem()).decode(), kind="error")
        finally:
            self._followers -= 1


def body_of(build: Build) -> BuildBody:
    """Return a build as the API shows it."""
    return BuildBody(
        id=build.id,
        tenant=build.tenant,
        namespace=build.namespace,
        function=build.function_name,
        function_id=build.function_id,
        code_version=build.code_version,
        runtime=build.runtime,
        handler=build.handler,
        state=build.state.value,
        error=build.error,
        attempt=build.attempt,
        is_cached=build.is_cached,
        artifact=build.artifact,
        log_bytes=build.log_bytes,
        log_truncated=build.log_truncated,
        created_at=build.created_at,
        started_at=build.started_at,
        finished_at=build.finished_at,
    )


def _flag(request: DataRequest, name: str) -> bool:
    text = request.query.get(name, "0").lower()
    if text not in _FLAGS:
        raise InvalidRequest(f"{name} must be 1 or 0, not {text[:40]!r}", field=name)
    return _FLAGS[text]
