"""Builds: put in line with the code that they build, claimed by lease and fencing token, live when they succeed.

All times are the database's. Whatever touches a function's row and its builds takes the lock of the change log first,
as a deployment's own statement does: so none of them waits for another crosswise, and each sees what the others wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from constellation.base.errors import ConstellationError, NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.nova.domain.build import MAX_ATTEMPTS, MAX_ERROR_CHARS, Build, BuildState, stated
from constellation.nova.store.bell import Bell
from constellation.nova.store.page import Page
from constellation.nova.store.pool import Database, Record, Session
from constellation.nova.store.queries import load

SQL = load("builds")

CHANNEL = "builds"  # notified when builds were put in line or ended by somebody else than their worker
PROGRESS = "build_progress"  # notified when a log grew or a build ended
QUEUE_DEPTH = 100  # pending builds of a tenant
KEPT_BUILDS = 20  # chosen: of a function; those that made something stay as long as their code
SILENT = "the worker that built it died, in each of its {} attempts"


class BuildQueueFull(ConstellationError):
    """As many builds of the tenant are in line as may be."""

    code, http_status, retryable = "build_queue_full", 429, True

    def __init__(self, tenant: str, *, limit: int) -> None:
        super().__init__(
            f"{limit} builds of tenant {tenant} are in line already", extras={"limit": limit}, retry_after_s=5
        )


class ArtifactGone(ConstellationError):
    """What a build made was forgotten before its code used it; it must be made again."""

    code, http_status, retryable = "artifact_gone", 409, True

    def __init__(self, digest: str) -> None:
        super().__init__(f"the artifact {digest} is not kept any more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBuild:
    """A build in the hands of one worker; `build.attempt` counts this one."""

    build: Build
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a build that succeeded leaves."""

    artifact: str
    cache_key: str
    is_cached: bool
    handler: str | None = None  # that the code has from now on; None: as it was deployed


class Builds:
    """The tables builds and build_log."""

    def __init__(self, db: Database, *, queue_depth: Callable[[str], int] = lambda _tenant: QUEUE_DEPTH) -> None:
        self._db, self._queue_depth = db, queue_depth
        self._work, self._progress = Bell(db, CHANNEL), Bell(db, PROGRESS)

    # What users ask.

    async def get(self, tenant: str, namespace: str, build_id: UUID) -> Build:
        """Return a build. Raises `NotFound`."""
        row = await self._db.fetch_row(SQL["get"], tenant, namespace, build_id)
        if row is None:
            raise NotFound("build", str(build_id))
        return _build(row)

    async def list(
        self,
        tenant: str,
        function_id: UUID,
        *,
        state: BuildState | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[Build]:
        """Return the builds of a function, newest first, with the exact total."""
        rows = await self._db.fetch(SQL["list"], tenant, function_id, state, limit, offset)
        total: int = await self._db.fetch_value(SQL["count"], tenant, function_id, state)
        return Page(items=tuple(map(_build, rows)), total=total, has_more=offset + len(rows) < total)

    async def newest(self, tenant: str, function_ids: Sequence[UUID]) -> dict[UUID, Build]:
        """Return the newest build of each of some functions that has one."""
        rows = await self._db.fetch(SQL["newest"], tenant, list(function_ids))
        return {row["function_id"]: _build(row) for row in rows}

    async def log_after(self, build: Build, part: int) -> tuple[bytes, int]:
        """Return what a build printed after part `part` (0: everything), and the number of its last part."""
        rows = await self._db.fetch(SQL["read_log"], build.tenant, build.id, part)
        return b"".join(row["content"] for row in rows), rows[-1]["part"] if rows else part

    async def cancel(self, tenant: str, namespace: str, build_id: UUID, *, subject: str) -> Build:
        """End a build that is not over; its worker stops as soon as it hears.

        Raises:
            NotFound: there is no such build.
            StateConflict: it is over.
        """
        error = f"cancelled by {subject}"
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock"])
            row = await tx.fetch_row(SQL["cancel"], tenant, namespace, build_id, error)
            if row is not None:
                await tx.execute(SQL["state_error"], tenant, row["function_id"], row["code_version"], error)
        if row is None:
            found = await self.get(tenant, namespace, build_id)
            raise StateConflict("build", str(build_id), state=found.state, wanted="pending or compiling")
        await self._work.ring()
        await self._progress.ring()
        return _build(row)

    async def retry(self, tenant: str, namespace: str, function_name: str) -> Build:
        """Put the code that a function waits for in line again, after its build failed or was cancelled.

        Raises:
            NotFound: there is no such function.
            StateConflict: no code waits, or its build is not over.
            BuildQueueFull: too many are in line.
        """
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock"])
            row = await tx.fetch_row(SQL["get_function"], tenant, namespace, function_name)
            if row is None:
                raise NotFound("function", function_name)
            if row["pending_version"] is None:
                raise StateConflict("function", function_name, state="live as deployed", wanted="waiting for a build")
            newest = await tx.fetch_row(SQL["newest"], tenant, [row["id"]])
            if newest is not None and not BuildState(newest["state"]).is_over:
                raise StateConflict("build", str(newest["id"]), state=newest["state"], wanted="failed or cancelled")
            build = await enqueue(
                tx,
                (tenant, namespace, function_name),
                row["id"],
                code=(row["pending_version"], row["pending_hash"]),
                runtime=row["runtime"],
                handler=row["pending_handler"],
                queue_depth=self._queue_depth(tenant),
            )
            await tx.execute(SQL["state_error"], tenant, row["id"], row["pending_version"], None)
            await tx.execute(SQL["forget_old"], tenant, row["id"], KEPT_BUILDS)
        await self._work.ring()
        return build

    # What workers do.

    async def claim(self, *, owner: str, lease_s: float, limit: int) -> tuple[ClaimedBuild, ...]:
        """Take up to `limit` builds, at most one a tenant, each for `lease_s` seconds.

        Builds of workers that went silent come back in line first, or have failed when that was their last attempt.
        """
        for spent in await self._db.fetch(SQL["list_spent"], MAX_ATTEMPTS):
            reason = SILENT.format(MAX_ATTEMPTS)
            await self._end(spent["tenant"], spent["id"], spent["token"], BuildState.FAILED, reason)
        async with self._db.transaction() as tx:
            await tx.execute(SQL["put_back_silent"], MAX_ATTEMPTS)
            rows = await tx.fetch(SQL["claim"], owner, lease_s, limit)
        if rows:
            await self._progress.ring()
        return tuple(ClaimedBuild(build=_build(row), token=row["token"]) for row in rows)

    async def renew(self, claims: Sequence[ClaimedBuild], *, lease_s: float) -> frozenset[UUID]:
        """Hold claims for another `lease_s` seconds from now; return the ids of those that still held."""
        tenants = [claim.build.tenant for claim in claims]
        ids, tokens = [claim.build.id for claim in claims], [claim.token for claim in claims]
        async with self._db.transaction() as tx:
            return frozenset(row["id"] for row in await tx.fetch(SQL["renew"], tenants, ids, tokens, lease_s))

    async def release(self, claim: ClaimedBuild) -> bool:
        """Put a build back in line without using up an attempt; False when the claim is lost."""
        async with self._db.transaction() as tx:
            is_written = bool(await tx.execute(SQL["release"], claim.build.tenant, claim.build.id, claim.token))
        await self._work.ring()
        return is_written

    async def append_log(self, claim: ClaimedBuild, text: bytes, *, is_cut: bool) -> bool:
        """Add to a build's log; False, and nothing written, when the claim is lost.

        Args:
            is_cut: more was printed, and is not kept.
        """
        async with self._db.transaction() as tx:
            key = (claim.build.tenant, claim.build.id, claim.token)
            is_written = bool(await tx.execute(SQL["append_log"], *key, text, is_cut))
        await self._progress.ring()
        return is_written

    async def find_made(self, tenant: str, cache_key: str) -> str | None:
        """Return the artifact of an equal build of the tenant that succeeded."""
        found: str | None = await self._db.fetch_value(SQL["find_made"], tenant, cache_key)
        return found

    async def succeed(self, claim: ClaimedBuild, made: Made) -> bool:
        """Record what a build made, and put its code live unless newer code was deployed meanwhile.

        Returns False, and writes nothing, when the claim is lost.

        Raises:
            ArtifactGone: the artifact is not kept any more; nothing is written.
        """
        build = claim.build
        try:
            return await self._end(build.tenant, build.id, claim.token, BuildState.SUCCESS, None, made)
        except asyncpg.ForeignKeyViolationError as error:
            raise ArtifactGone(made.artifact) from error

    async def fail(self, claim: ClaimedBuild, reason: str) -> bool:
        """Record why a build failed, for its code too; False, and nothing written, when the claim is lost."""
        return await self._end(claim.build.tenant, claim.build.id, claim.token, BuildState.FAILED, reason)

    async def _end(
        self, tenant: str, build_id: UUID, token: int, state: BuildState, reason: str | None, made: Made | None = None
    ) -> bool:
        error = None if reason is None else reason[:MAX_ERROR_CHARS].replace("\0", "\N{REPLACEMENT CHARACTER}")
        facts = (None, None, False) if made is None else (made.cache_key, made.artifact, made.is_cached)
        async with self._db.transaction() as tx:
            await tx.fetch_value(SQL["lock"])
            row = await tx.fetch_row(SQL["end"], tenant, build_id, token, state, error, *facts)
            if row is not None:
                code = (tenant, row["function_id"], row["code_version"])
                if made is not None:
                    await tx.execute(SQL["use_artifact"], *code, made.artifact)
                    if made.handler is not None:
                        await tx.execute(SQL["settle_handler"], *code, made.handler)
                    await tx.execute(SQL["go_live"], *code)
                else:
                    await tx.execute(SQL["state_error"], *code, stated(error or ""))
        await self._progress.ring()
        return row is not None


async def enqueue(
    tx: Session,
    key: tuple[str, str, str],
    function_id: UUID,
    *,
    code: tuple[int, str],
    runtime: str,
    handler: str,
    queue_depth: int,
) -> Build:
    """Put a build in line in a transaction of the caller's, which holds the change log's lock; ring after the commit.

    Args:
        key: tenant, namespace and name of the function.
        code: version and hash of the sources.

    Raises:
        BuildQueueFull: `queue_depth` of the tenant are in line already.
    """
    tenant, namespace, name = key
    if await tx.fetch_value(SQL["count_pending"], tenant) >= queue_depth:
        raise BuildQueueFull(tenant, limit=queue_depth)
    row = await tx.fetch_row(SQL["insert"], tenant, namespace, uuid7(), function_id, name, *code, runtime, handler)
    assert row is not None
    return _build(row)


async def supersede(tx: Session, tenant: str, function_id: UUID, *, reason: str) -> bool:
    """End the builds of a function whose code nobody waits for any more; True when there were any: ring after the commit."""
    return bool(await tx.execute(SQL["supersede"], tenant, function_id, reason))


def _build(row: Record) -> Build:
    columns = {name: value for name, value in row.items() if name != "token"}
    return Build(**columns | {"state": BuildState(columns["state"])})
