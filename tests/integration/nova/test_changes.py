from __future__ import annotations

import json
from contextlib import asynccontextmanager

import anyio
import pytest

from constellation.nova.api import changes as feed_module
from constellation.nova.api.changes import ChangeFeed
from constellation.nova.store.changes import CHANNEL, Changes
from constellation.nova.store.listen import Listener

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


class Follower:
    """Reads the stream line by line; pings apart."""

    def __init__(self, lines) -> None:
        self._lines = lines

    async def any(self) -> dict[str, object]:
        with anyio.fail_after(10):
            return json.loads(await anext(self._lines))

    async def change(self) -> dict[str, object]:
        while (line := await self.any())["kind"] == "ping":
            continue
        return line


@asynccontextmanager
async def following(nova, after: int | None = None):
    path = "/internal/changes" + ("" if after is None else f"?after={after}")
    async with nova.http.stream("GET", path, headers=nova.service(), timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        yield Follower(answer.aiter_lines())


async def test_a_follower_is_greeted_and_told_of_every_change(nova):
    async with following(nova) as follower:
        hello = await follower.any()
        assert hello["kind"] == "hello"
        await nova.deploy("f")
        created = await follower.change()
        assert created | {"seq": 0} == {
            "seq": 0,
            "kind": "function",
            "tenant": "default",
            "namespace": "default",
            "name": "f",
        }
        assert created["seq"] > hello["seq"]
        await nova.http.patch("/functions/f", json={"memory_mb": 64}, headers=nova.admin())
        changed = await follower.change()
        assert (changed["kind"], changed["name"]) == ("function", "f")
        assert changed["seq"] > created["seq"]


async def test_a_quiet_stream_pings_with_the_head(nova):
    async with following(nova) as follower:
        hello = await follower.any()
        ping = await follower.any()
        assert ping == {"seq": hello["seq"], "kind": "ping"}


async def test_a_revoked_key_shows_on_the_stream(nova):
    await nova.http.post("/apikeys", json={"name": "ci"}, headers=nova.admin())
    async with following(nova) as follower:
        await follower.any()
        await nova.http.delete("/apikeys/ci", headers=nova.admin())
        revoked = await follower.change()
        assert (revoked["kind"], revoked["tenant"], revoked["name"]) == ("api_key", "default", "ci")
        await nova.http.post("/tenants", json={"id": "acme"}, headers=nova.admin())
        kinds = {"api_key"}  # the hello may have come before the feed knew that the key was made
        while kinds != {"api_key", "tenant", "namespace"}:
            kinds.add((await follower.change())["kind"])


async def test_a_follower_that_was_cut_off_misses_nothing(nova):
    async with following(nova) as follower:
        await follower.any()
        await nova.deploy("seen")
        last = (await follower.change())["seq"]
    for place in range(5):
        await nova.deploy(f"missed{place}")
    async with following(nova, after=last) as follower:
        assert (await follower.any())["kind"] == "hello"
        assert [(await follower.change())["name"] for _ in range(5)] == [f"missed{place}" for place in range(5)]
        await nova.deploy("live")
        assert (await follower.change())["name"] == "live"


async def test_many_followers_hear_the_same(nova):
    heard: list[list[str]] = []

    async def follow(*, task_status=anyio.TASK_STATUS_IGNORED) -> None:
        async with following(nova) as follower:
            await follower.any()
            task_status.started()
            heard.append([(await follower.change())["name"] for _ in range(3)])

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            await tasks.start(follow)
        for name in ("a", "b", "c"):
            await nova.deploy(name)
    assert heard == [["a", "b", "c"]] * 10


async def test_a_number_of_another_past_begins_at_the_head(nova):
    async with following(nova, after=10**17) as follower:
        assert (await follower.any())["seq"] < 10**17
        await nova.deploy("f")
        assert (await follower.change())["name"] == "f"


async def test_who_is_far_behind_is_served_from_the_table(nova, db, database, monkeypatch):
    monkeypatch.setattr(feed_module, "TAIL_CHANGES", 3)
    monkeypatch.setattr(feed_module, "BATCH", 2)
    table = Changes(db)
    start = await table.head()
    wakeups = Listener(database.dsn("nova"), application="test", channels=(CHANNEL,))
    feed = ChangeFeed(table, wakeups=wakeups)
    names = [f"f{place}" for place in range(8)]
    async with anyio.create_task_group() as tasks:
        await tasks.start(wakeups.run)
        await tasks.start(feed.run)
        for name in names:
            await nova.deploy(name)
        with anyio.fail_after(10):
            while feed.head < await table.head():
                await anyio.sleep(0.01)
        for after, expected in ((start, names), (await table.head() - 2, names[-2:])):
            lines = feed.follow(after)
            assert json.loads(await anext(lines))["kind"] == "hello"
            assert [json.loads(await anext(lines))["name"] for _ in expected] == expected
            await lines.aclose()
        assert feed.followers == 0
        tasks.cancel_scope.cancel()


async def test_a_closing_feed_ends_its_streams(nova, db, database):
    wakeups = Listener(database.dsn("nova"), application="test", channels=(CHANNEL,))
    feed = ChangeFeed(Changes(db), wakeups=wakeups)
    async with anyio.create_task_group() as tasks:
        await tasks.start(wakeups.run)
        await tasks.start(feed.run)
        lines = feed.follow(None)
        await anext(lines)
        feed.close()
        with anyio.fail_after(10):
            assert [line async for line in lines] == []
        tasks.cancel_scope.cancel()


async def test_followers_are_bounded(nova, monkeypatch):
    monkeypatch.setattr(feed_module, "MAX_FOLLOWERS", 1)
    async with following(nova) as follower:
        await follower.any()
        answer = await nova.http.get("/internal/changes", headers=nova.service())
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
