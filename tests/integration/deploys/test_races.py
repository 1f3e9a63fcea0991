"""Deploys and builds of the same functions at once: nobody waits crosswise, and the newest code is what ends up live."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from constellation.base.errors import VersionConflict
from constellation.nova.domain.build import BuildState
from constellation.nova.store.builds import Builds, Made
from constellation.nova.store.pool import connect
from tests.integration.deploys.conftest import COPY, sources

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

ROUNDS = 25
NAMES = ("a", "b", "c")


async def test_deploys_and_builds_do_not_wait_crosswise(database, nova, db):
    async with db.transaction() as tx:
        await tx.execute(
            "INSERT INTO artifacts (tenant, hash, size_bytes, parts) VALUES ('default', $1, 0, 0)", "a" * 64
        )
    for name in NAMES:
        await nova.create(name)
    busy = len(NAMES)

    async def deploy(name: str) -> None:
        nonlocal busy
        for number in range(ROUNDS):
            while True:
                row = replace(await nova.functions.get("default", "default", name), memory_mb=64 + number)
                try:
                    await nova.functions.update(row, files=sources(f"{COPY}# {number}\n"), needs_build=True)
                    break
                except VersionConflict:
                    continue
        busy -= 1

    async def work(builds: Builds, owner: str) -> None:
        made = Made(artifact="a" * 64, cache_key="k", is_cached=False)
        while True:
            claims = await builds.claim(owner=owner, lease_s=60.0, limit=3)
            if not claims and not busy:
                return
            for claim in claims:
                await builds.append_log(claim, b"text", is_cut=False)
                await builds.renew([claim], lease_s=60.0)
                await builds.succeed(claim, made)

    async with connect(database.dsn("comet"), application="comet", max_size=6) as pool:
        builds = Builds(pool)
        with anyio.fail_after(100):
            async with anyio.create_task_group() as tasks:
                for name in NAMES:
                    tasks.start_soon(deploy, name)
                for owner in ("first", "second"):
                    tasks.start_soon(work, builds, owner)
        for name in NAMES:
            row = await nova.functions.get("default", "default", name)
            assert (row.code_version, row.pending) == (ROUNDS + 1, None)
            assert (await nova.build(row)).state is BuildState.SUCCESS
        left = await db.fetch_value("SELECT count(*) FROM builds WHERE state IN ('pending', 'compiling')")
        assert left == 0
