"""What a build prints reaches the store once, in order, through its failures, and within its bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import anyio
import pytest
from trio.testing import MockClock

from constellation.comet.builds.log import CUT, BuildLog
from constellation.nova.domain.build import MAX_LOG_BYTES, Build, BuildState
from constellation.nova.store.builds import ClaimedBuild
from constellation.nova.store.pool import DatabaseUnavailable

pytestmark = pytest.mark.anyio

BUILD = Build(
    tenant="t",
    namespace="n",
    id=UUID(int=1),
    function_id=UUID(int=2),
    function_name="f",
    code_version=1,
    code_hash="",
    runtime="python",
    handler="main.handler",
    state=BuildState.COMPILING,
    error=None,
    attempt=1,
    is_cached=False,
    artifact=None,
    log_bytes=0,
    log_truncated=False,
    created_at=datetime.now(UTC),
    started_at=None,
    finished_at=None,
)


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Store:
    def __init__(self, failures: int = 0) -> None:
        self.failures, self.parts = failures, []

    async def append_log(self, _claim, text, *, is_cut):
        await anyio.sleep(0.1)
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable(reason="gone")
        self.parts.append((text, is_cut))
        return True


async def printed(store: Store, pieces: list[bytes], build: Build = BUILD) -> None:
    log = BuildLog(store, ClaimedBuild(build=build, token=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.run)
        for piece in pieces:
            log.write(piece)
            await anyio.sleep(0.04)
        log.close()


async def test_pieces_are_gathered_and_kept_through_failures():
    pieces = [b"%d\n" % number for number in range(100)]
    for failures in (0, 1, 3):
        store = Store(failures)
        await printed(store, pieces)
        assert b"".join(text for text, _ in store.parts) == b"".join(pieces)
        assert len(store.parts) < 20


async def test_what_is_over_the_bound_is_dropped_and_said_so_once():
    store = Store()
    await printed(store, [b"x" * 1000] * 300)
    text = b"".join(part for part, _ in store.parts)
    assert text == b"x" * MAX_LOG_BYTES + CUT
    assert store.parts[-1][1]


async def test_a_later_attempt_has_what_the_first_left_of_the_bound():
    store = Store()
    await printed(store, [b"abc", b"def"], replace(BUILD, log_bytes=MAX_LOG_BYTES - 4))
    assert b"".join(part for part, _ in store.parts) == b"abcd" + CUT
    store = Store()
    await printed(store, [b"abc"], replace(BUILD, log_bytes=MAX_LOG_BYTES + 50, log_truncated=True))
    assert store.parts == []


async def test_a_build_that_prints_nothing_writes_nothing():
    store = Store()
    await printed(store, [])
    assert store.parts == []
