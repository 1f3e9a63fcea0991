"""The routes of builds, over comet's port."""

from __future__ import annotations

import os

import anyio
import msgspec
import pytest

from constellation.base.ids import uuid7
from constellation.client.sse import EventReader
from constellation.nova.config.sections import BuildSettings, Settings
from constellation.nova.domain.access import Role
from constellation.routes.models.builds import BuildBody
from constellation.testing.command_builder import CommandBuilder
from constellation.testing.fake_backend import Script
from tests.integration.deploys.conftest import until
from tests.integration.grpc.conftest import running

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

SETTINGS = Settings(builds=BuildSettings(concurrency=1, queue_depth=1, lease_s=5.0))


@pytest.fixture
async def comet(database, tmp_path):
    async with running(
        database, tmp_path / "state", script=Script(), settings=SETTINGS, builder=CommandBuilder()
    ) as made:
        yield made


async def test_builds_are_listed_shown_and_read(comet, nova):
    build = await nova.ended(await nova.create(script="echo one\nexit 1\n"))
    await nova.ended(await nova.update("f", "echo two\ncp $SOURCES/main.py $OUTPUT\n"))
    listed = (await comet.http("GET", "/functions/f/builds")).json()
    assert [item["state"] for item in listed["items"]] == ["success", "failed"]
    assert listed["pagination"]["total"] == 2
    failed = (await comet.http("GET", "/functions/f/builds", query="state=failed")).json()["items"]
    assert [item["id"] for item in failed] == [str(build.id)]
    assert (await comet.http("GET", "/functions/f/builds", query="state=wrong")).status == 400
    shown = (await comet.http("GET", f"/builds/{build.id}")).json()
    assert (shown["function"], shown["code_version"], shown["error"]) == ("f", 1, "build.sh ended with 1")
    text = await comet.http("GET", f"/builds/{build.id}/logs")
    assert (text.status, text.body, text.headers["content-type"]) == (200, b"one\n", "text/plain; charset=utf-8")
    assert (await comet.http("GET", f"/builds/{build.id}/logs", query="follow=maybe")).status == 400


async def test_another_tenant_sees_nothing(comet, nova, db):
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO tenants (id) VALUES ('acme')")
        await tx.execute("INSERT INTO namespaces (tenant, name) VALUES ('acme', 'default')")
    build = await nova.ended(await nova.create(script="exit 1\n"))
    for method, path in (
        ("GET", f"/builds/{build.id}"),
        ("GET", f"/builds/{build.id}/logs"),
        ("POST", f"/builds/{build.id}/cancel"),
        ("GET", "/functions/f/builds"),
        ("POST", "/functions/f/builds"),
    ):
        assert (await comet.http(method, path, tenant="acme")).status == 404, path
    for method, path in (("POST", f"/builds/{build.id}/cancel"), ("POST", "/functions/f/builds")):
        assert (await comet.http(method, path, role=Role.VIEWER)).status == 403, path
    assert (await comet.http("GET", f"/builds/{uuid7()}")).status == 404


async def test_a_followed_log_comes_as_it_is_printed_and_ends_with_the_build(comet, nova, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    function = await nova.create(script=f"echo before\nread line < {gate}\necho after\ncp $SOURCES/main.py $OUTPUT\n")
    build = await nova.build(function)
    reader, events = EventReader(), []
    async with comet.open("GET", f"/builds/{build.id}/logs", query="follow=1") as stream:
        assert (await stream.recv_message()).status == 200
        async for part in stream:
            new = reader.feed(part.body)
            events += new
            if any("before" in event.data for event in new):
                await anyio.to_thread.run_sync(gate.write_text, "go\n")
        await stream.recv_trailing_metadata()
    assert [event.name for event in events] == ["log", "log", "done"]
    assert "".join(msgspec.json.decode(event.data)["text"] for event in events[:-1]) == "before\nafter\n"
    ended = msgspec.json.decode(events[-1].data, type=BuildBody)
    assert (ended.id, ended.state) == (build.id, "success")


async def test_a_build_is_cancelled_and_put_in_line_again(comet, nova, tmp_path):
    mark = tmp_path / "mark"
    script = f"if [ -e {mark} ]; then cp $SOURCES/main.py $OUTPUT; exit; fi\n: > {mark}\necho began\nsleep 600\n"
    function = await nova.create(script=script)
    build = await nova.build(function)
    assert (await comet.http("POST", "/functions/f/builds")).json()["code"] == "state_conflict"  # it is not over

    async def began() -> bool:
        return await nova.log(build) == "began\n"

    await until(began)
    cancelled = (await comet.http("POST", f"/builds/{build.id}/cancel")).json()
    assert (cancelled["state"], cancelled["error"]) == ("cancelled", "cancelled by apikey:test")
    assert (await comet.http("POST", f"/builds/{build.id}/cancel")).status == 409
    row = await nova.functions.get("default", "default", "f")
    assert row.pending.error == "cancelled by apikey:test"
    again = await comet.http("POST", "/functions/f/builds")
    assert (again.status, again.json()["code_version"]) == (202, 1)
    assert (await nova.ended(function)).state.value == "success"
    assert (await comet.http("POST", "/functions/f/builds")).json()["code"] == "state_conflict"  # nothing waits


async def test_a_full_line_refuses_what_comes(comet, nova, database):
    waiting = await nova.create("a", "sleep 600\n")

    async def is_taken() -> bool:
        return (await nova.build(waiting)).state.value == "compiling"

    await until(is_taken)
    await nova.create("b", "sleep 600\n")
    row = await nova.functions.get("default", "default", "b")
    build = await nova.build(row)
    await comet.http("POST", f"/builds/{build.id}/cancel")
    await nova.create("c", "sleep 600\n")
    refused = await comet.http("POST", "/functions/b/builds")
    assert (refused.status, refused.json()["code"], refused.json()["limit"]) == (429, "build_queue_full", 1)
    for function in (waiting, await nova.functions.get("default", "default", "c")):
        await comet.http("POST", f"/builds/{(await nova.build(function)).id}/cancel")
