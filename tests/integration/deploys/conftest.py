"""Functions whose code is built by a real program, over a real database, each part in its plane's role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.nova.domain.build import Build
from constellation.nova.domain.function import Function
from constellation.nova.store.builds import Builds
from constellation.nova.store.functions import Functions
from constellation.nova.store.pool import Database, connect

T = TypeVar("T")
COPY = "cp -r $SOURCES/main.py $OUTPUT/\necho copied\n"
MAIN = "def handler(event, context):\n    return 'as it is'\n"


def sources(script: str = COPY, **files: str) -> dict[str, bytes]:
    return {"build.sh": script.encode(), "main.py": MAIN.encode(), **{n: t.encode() for n, t in files.items()}}


class Deployer:
    """Deploys as nova does, in its role."""

    def __init__(self, db: Database) -> None:
        self.functions, self.builds = Functions(db), Builds(db)

    async def create(self, name: str = "f", script: str = COPY, *, tenant: str = "default", **files: str) -> Function:
        row = Function(
            tenant=tenant,
            namespace="default",
            name=name,
            id=uuid7(),
            runtime="python",
            handler="main.handler",
            memory_mb=64,
        )
        return await self.functions.create(row, sources(script, **files), needs_build=True)

    async def update(self, name: str, script: str, *, handler: str = "main.handler", **files: str) -> Function:
        found = replace(await self.functions.get("default", "default", name), handler=handler)
        return await self.functions.update(found, files=sources(script, **files), needs_build=True)

    async def build(self, function: Function) -> Build:
        """The newest build of a function."""
        return (await self.builds.newest(function.tenant, [function.id]))[function.id]

    async def ended(self, function: Function) -> Build:
        """The newest build of a function, once it is over."""

        async def over() -> Build | None:
            build = await self.build(function)
            return build if build.state.is_over else None

        return await until(over)

    async def log(self, build: Build) -> str:
        text, _ = await self.builds.log_after(build, 0)
        return text.decode()


async def until(check: Callable[[], Awaitable[T | None]], *, within_s: float = 60.0) -> T:
    """Return what a check finds as soon as it finds something."""
    with anyio.fail_after(within_s):
        while True:
            found = await check()
            if found:
                return found
            await anyio.sleep(0.02)


@pytest.fixture
async def nova(database, db) -> AsyncIterator[Deployer]:
    async with connect(database.dsn("nova"), application="nova", max_size=4) as pool:
        deployer = Deployer(pool)
        async with connect(database.dsn("comet"), application="tests", max_size=2) as reader:
            deployer.builds = Builds(reader)  # nova may not read what builds print
            yield deployer
