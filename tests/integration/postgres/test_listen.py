"""The listener's connection: checked, cut, and made again."""

from __future__ import annotations

import anyio
import pytest

from constellation.nova.store.bell import Bell
from constellation.nova.store.listen import Listener
from constellation.nova.store.pool import connect

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_listener_outlives_its_own_checks(database, db):
    listener = Listener(database.dsn("nebula"), application="tests", channels=["jobs"], check_s=0.05)
    with listener.subscribe("jobs") as wakeup:
        async with anyio.create_task_group() as tasks:
            await tasks.start(listener.run)
            assert await wakeup.wait(within_s=5)  # once for the connection
            assert not await wakeup.wait(within_s=0.4)  # eight checks wake nobody
            await Bell(db, "jobs").ring()
            assert await wakeup.wait(within_s=5)
            tasks.cancel_scope.cancel()


async def test_listener_whose_session_is_ended_comes_back_and_wakes(database, db, postgres):
    listener = Listener(database.dsn("nebula"), application="tests", channels=["jobs"])
    with listener.subscribe("jobs") as wakeup:
        async with anyio.create_task_group() as tasks:
            await tasks.start(listener.run)
            assert await wakeup.wait(within_s=5)
            async with connect(postgres.postgres.superuser_dsn(), application="tests", max_size=1) as server:
                ended = await server.fetch_value(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1",
                    "tests listener",
                )
            assert ended == 1
            assert await wakeup.wait(within_s=10)
            await Bell(db, "jobs").ring()
            assert await wakeup.wait(within_s=5)
            tasks.cancel_scope.cancel()
