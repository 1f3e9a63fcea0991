"""The worker of builds: claims what is in line, has it built, keeps what was made and puts it live.

A build is in the table until the commit of its outcome, so this process may be killed at any instruction: its lease
ends and it is built again. Never twice at a time: only the holder of its token can write, and who lost it stops.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus
from prometheus_client import Counter

from constellation.base.errors import ConstellationError
from constellation.comet.builds.contract import Builder, BuilderUnavailable, BuildFailed, BuildRequest
from constellation.comet.builds.log import BuildLog
from constellation.comet.builds.tree import Packed, pack
from constellation.comet.code import make_directory, write_files
from constellation.nova.config.sections import BuildSettings
from constellation.nova.domain.build import Build, cache_key
from constellation.nova.domain.function import Code, code_hash
from constellation.nova.store.artifacts import PART_BYTES
from constellation.nova.store.builds import ClaimedBuild, Made

log = structlog.get_logger()
T = TypeVar("T")

STORE_RETRY_S = 1.0  # chosen: the embedded database restarts within that
OVERTIME_S = 960.0  # chosen: a builder keeps the limit itself, once it has what builds of a language share


class BuildStore(Protocol):
    async def claim(self, *, owner: str, lease_s: float, limit: int) -> Sequence[ClaimedBuild]: ...
    async def renew(self, claims: Sequence[ClaimedBuild], *, lease_s: float) -> frozenset[UUID]: ...
    async def release(self, claim: ClaimedBuild) -> bool: ...
    async def append_log(self, claim: ClaimedBuild, text: bytes, *, is_cut: bool) -> bool: ...
    async def find_made(self, tenant: str, cache_key: str) -> str | None: ...
    async def succeed(self, claim: ClaimedBuild, made: Made) -> bool: ...
    async def fail(self, claim: ClaimedBuild, reason: str) -> bool: ...


class ArtifactStore(Protocol):
    async def touch(self, tenant: str, digest: str) -> bool: ...
    async def put(self, tenant: str, digest: str, parts: AsyncIterator[bytes], *, size_bytes: int) -> None: ...


class SourceStore(Protocol):
    async def code(self, tenant: str, function_id: UUID, version: int, *, is_source_wanted: bool) -> Code: ...


class Wakeup(Protocol):
    async def wait(self, *, within_s: float) -> bool: ...

    def wake_nowait(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    owner: str  # unique among all workers, this life of the process included
    concurrency: int
    lease_s: float
    safety_poll_s: float
    limits: Callable[[str], BuildSettings]  # of one build, by its tenant


@dataclass(slots=True, kw_only=True, eq=False)
class _Hold:
    """One build in hand. Its scope is cancelled when the lease ends, by time or because the store says so."""

    claim: ClaimedBuild
    scope: anyio.CancelScope
    is_settling: bool = False  # its outcome is on the way to the store, which decides by the token


class BuildWorker:
    """A service: `run` works until cancelled, and then puts what it has in hand back in line."""

    def __init__(
        self,
        builds: BuildStore,
        artifacts: ArtifactStore,
        sources: SourceStore,
        builder: Builder,
        *,
        root: Path,
        options: BuildOptions,
        ended: Counter,
    ) -> None:
        self._builds, self._artifacts, self._sources, self._builder = builds, artifacts, sources, builder
        self._root, self._options, self._ended = root, options, ended
        self._holds: dict[UUID, _Hold] = {}
        self._finding, self._has_found = anyio.Lock(), False
        self._threads = anyio.CapacityLimiter(options.concurrency + 1)

    async def run(
        self, subscription: AbstractContextManager[Wakeup], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Build until cancelled.

        Args:
            subscription: wakes when builds were put in line or ended by somebody else.
        """
        await self._in_thread(partial(_clear, self._root))
        with subscription as wakeup:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_leases)
                task_status.started()
                while True:
                    wait_s = await self._claim_into(tasks, wakeup)
                    if wait_s > 0:
                        await wakeup.wait(within_s=wait_s)
                        await self._renew()  # one in hand may have been cancelled

    async def _claim_into(self, tasks: TaskGroup, wakeup: Wakeup) -> float:
        """Claim what there is room for, start it, and return how long to wait for more, in seconds."""
        room = self._options.concurrency - len(self._holds)
        if room <= 0:
            return self._options.safety_poll_s  # each build that ends wakes us
        lease_end = anyio.current_time() + self._options.lease_s
        try:
            claims = await self._builds.claim(owner=self._options.owner, lease_s=self._options.lease_s, limit=room)
        except ConstellationError as error:
            log.warning("builds.unreachable", reason=str(error))
            return STORE_RETRY_S
        for claim in claims:
            hold = _Hold(claim=claim, scope=anyio.CancelScope(deadline=lease_end))
            self._holds[claim.build.id] = hold
            tasks.start_soon(self._work, hold, wakeup)
        return 0.0 if claims else min(self._options.safety_poll_s, self._options.lease_s)

    async def _keep_leases(self) -> None:
        while True:
            await anyio.sleep(self._options.lease_s / 3)
            await self._renew()

    async def _renew(self) -> None:
        holds = list(self._holds.values())
        if not holds:
            return
        until = anyio.current_time() + self._options.lease_s
        try:
            with anyio.fail_after(self._options.lease_s / 3):
                kept = await self._builds.renew([hold.claim for hold in holds], lease_s=self._options.lease_s)
        except (ConstellationError, TimeoutError) as error:
            log.warning("builds.not_renewed", held=len(holds), reason=str(error) or "no answer in time")
            return
        for hold in holds:
            if hold.claim.build.id in kept:
                hold.scope.deadline = until
            elif not hold.is_settling:
                hold.scope.cancel()

    async def _work(self, hold: _Hold, wakeup: Wakeup) -> None:
        claim, build = hold.claim, hold.claim.build
        facts = {"build": str(build.id), "tenant": build.tenant, "function": build.function_name}
        try:
            with hold.scope:
                log.info("build.began", attempt=build.attempt, **facts)
                try:
                    state = await self._build(hold)
                except ConstellationError as error:  # of the store: the lease ends, and it is built again
                    log.warning("build.left", reason=str(error), **facts)
                except Exception:  # the supervision point of one build: it costs this attempt only
                    log.exception("build.broke", **facts)
                else:
                    self._ended.labels(state).inc()
                    log.info("build.ended", state=state, **facts)
            if hold.scope.cancelled_caught:
                log.warning("build.given_up", **facts)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(STORE_RETRY_S, shield=True), suppress(ConstellationError):
                await self._builds.release(claim)  # else its lease ends by itself
            raise
        finally:
            del self._holds[build.id]
            wakeup.wake_nowait()

    async def _build(self, hold: _Hold) -> str:
        """Build, keep what was made, settle, and return how it ended.

        Raises:
            ConstellationError: of the store.
        """
        claim, build = hold.claim, hold.claim.build
        output = BuildLog(self._builds, claim)
        if build.attempt > 1:
            output.write(b"\n[attempt %d: the worker before went silent]\n" % build.attempt)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.run)
            outcome = await self._outcome(claim, output)
            output.close()
        hold.is_settling = True
        match outcome:
            case Made():
                is_written, state = await self._builds.succeed(claim, outcome), "success"
            case BuildFailed() | BuilderUnavailable():
                is_written, state = await self._builds.fail(claim, str(outcome)), "failed"
            case _:
                raise outcome
        return state if is_written else "claim_lost"

    async def _outcome(self, claim: ClaimedBuild, output: BuildLog) -> Made | ConstellationError:
        try:
            return await self._made(claim, output)
        except ConstellationError as error:
            return error

    async def _made(self, claim: ClaimedBuild, output: BuildLog) -> Made:
        build = claim.build
        async with self._finding:  # for the first build: to ask every tool takes a second of a core
            if not self._has_found:
                await self._builder.find()
                self._has_found = True
        toolchain = await self._in_thread(partial(self._builder.toolchain, build.runtime))
        key = cache_key(toolchain=toolchain, runtime=build.runtime, handler=build.handler, code_hash=build.code_hash)
        found = await self._builds.find_made(build.tenant, key)
        if found is not None and await self._artifacts.touch(build.tenant, found):
            output.write(b"An equal build made this before; nothing is built.\n")
            return Made(artifact=found, cache_key=key, is_cached=True)
        directory = self._root / f"{build.id}-{claim.token}"
        try:
            packed, handler = await self._packed(build, output, directory)
            parts = self._parts(packed.path)
            await self._artifacts.put(build.tenant, packed.hash, parts, size_bytes=packed.size_bytes)
        finally:
            with anyio.CancelScope(shield=True):  # bounded by the disk; what is left goes at the next start
                await self._in_thread(partial(shutil.rmtree, directory, ignore_errors=True))
        return Made(artifact=packed.hash, cache_key=key, is_cached=False, handler=handler)

    async def _packed(self, build: Build, output: BuildLog, directory: Path) -> tuple[Packed, str | None]:
        code = await self._sources.code(build.tenant, build.function_id, build.code_version, is_source_wanted=True)
        sources, tree, limits = directory / "sources", directory / "output", self._options.limits(build.tenant)
        await self._in_thread(partial(_lay_out, code, build, sources, tree))
        request = BuildRequest(
            build_id=build.id,
            tenant=build.tenant,
            namespace=build.namespace,
            function_id=build.function_id,
            function_name=build.function_name,
            runtime=build.runtime,
            handler=build.handler,
            sources=sources,
            output=tree,
            memory_mb=max(1, limits.memory_bytes >> 20),
            cpu_millis=limits.cpu_millis,
            disk_mb=max(1, limits.disk_bytes >> 20),
            timeout_s=limits.timeout_s,
        )
        with anyio.move_on_after(limits.timeout_s + OVERTIME_S) as scope:
            handler = await self._builder.build(request, log=output.write)
        if scope.cancelled_caught:
            raise BuildFailed(f"the build took longer than {limits.timeout_s:g} s")
        return await self._in_thread(partial(pack, tree, directory / "artifact.tar.gz")), handler

    async def _parts(self, path: Path) -> AsyncIterator[bytes]:
        async with await anyio.open_file(path, "rb") as file:
            while part := await file.read(PART_BYTES):
                yield part

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


def _lay_out(code: Code, build: Build, sources: Path, tree: Path) -> None:
    if code_hash(code.files) != build.code_hash:
        raise BuildFailed("the stored sources do not have their hash")
    write_files(code.files, sources)
    make_directory(tree)


def _clear(root: Path) -> None:
    """Remove what a killed run left."""
    shutil.rmtree(root, ignore_errors=True)
    make_directory(root)
