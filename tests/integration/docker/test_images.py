"""Functions that are images: what their servers are asked, what comes of their answers, and how the images come here."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import (
    Call,
    CallTimeout,
    HandlerLoadFailed,
    InstanceDied,
    OutputInvalid,
    RuntimeUnavailable,
)
from constellation.comet.docker.settings import ImageSettings
from constellation.nova.domain.image import read_image
from constellation.testing.sandboxes import running_docker
from tests.integration.docker import images
from tests.integration.docker.registry import running_registry

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

NAME = "acme/server:1"


def call(event, *, timeout_s: float = 20) -> Call:
    return Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=timeout_s, trace_id=b"t" * 16)


@pytest.fixture
def image(daemon) -> str:
    """The id of an image with a server."""
    return images.make(daemon, NAME)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
async def server(backend, spec, image, told):
    """An instance of it."""
    pinned = await backend.resolve(read_image(NAME), tenant="acme", told=told.append)
    assert pinned.text == f"{NAME}@{image}"
    wanted = spec("", runtime="image", handler=pinned.text, concurrency=4, env={"GREETING": "hi"})
    instance = await backend.create(wanted, timeout_s=30)
    await instance.init(timeout_s=20)
    yield instance
    await instance.destroy()


async def test_a_call_is_a_post_and_its_answer_the_result(server, daemon):
    made = call({"a": [1]})
    outcome = await server.invoke(made)
    assert outcome.error is None, outcome.error
    seen = json.loads(outcome.output)
    assert (seen["event"], seen["path"], seen["cwd"], seen["own"]) == ({"a": [1]}, "/", "/app", "image")
    assert (seen["greeting"], seen["port"]) == ("hi", "8080")
    headers = seen["headers"]
    assert headers["constellation-request-id"] == str(made.request_id)
    assert int(headers["constellation-deadline-ms"]) > 1_700_000_000_000
    assert (headers["constellation-function"], headers["constellation-version"]) == ("f", "1")
    assert headers["traceparent"] == f"00-{(b't' * 16).hex()}-{'0' * 16}-01"
    assert headers["content-type"] == "application/json"
    # what holds for every container
    assert (seen["refused"], seen["wrote"]) == (["Read-only file system"] * 2, None)
    assert (seen["uid"], seen["interfaces"]) == (1_500_000 + server.user, ["lo"])
    shown = daemon.get(f"/containers/{server.container}/json").json()
    assert shown["NetworkSettings"]["Ports"] in ({}, None)  # no port of the host's
    assert outcome.log.text.endswith("look\n")


async def test_answers_that_are_no_results(server):
    assert json.loads((await server.invoke(call({"does": "text"}))).output) == "héllo"
    for status in (500, 404):
        failed = await server.invoke(call({"does": "fail", "status": status}))
        assert json.loads(failed.error) == {"type": "Broken", "message": "on purpose"}
    with pytest.raises(OutputInvalid):
        await server.invoke(call({"does": "lie"}))
    unknown = await server.invoke(call({"does": "nothing"}))  # the server's thread breaks
    assert json.loads(unknown.error)["type"] == "Runtime.NoResponse"
    assert json.loads((await server.invoke(call(7))).output)["event"] == 7


async def test_streams_overlap_with_calls_and_a_timeout_ends_the_call_alone(server):
    async with server.stream(call({"does": "stream"})) as answer:
        assert json.loads((await server.invoke(call({"does": "sleep", "s": 0}))).output) == 1
        assert b"".join([piece async for piece in answer]) == b"0\n1\n2\n"
    assert answer.outcome.error is None
    async with server.stream(call({"does": "fail"})) as answer:
        assert [piece async for piece in answer] == []
    assert json.loads(answer.outcome.error)["type"] == "Broken"
    with pytest.raises(CallTimeout):
        await server.invoke(call({"does": "sleep", "s": 30}, timeout_s=0.2))
    assert json.loads((await server.invoke(call({"does": "sleep", "s": 0}))).output) == 1
    with pytest.raises(InstanceDied, match="exit status 3"):
        await server.invoke(call({"does": "leave"}))


async def test_a_server_that_does_not_come_up_is_told_why(backend, spec, image):
    for env, error, words in (
        ({"DEAF": "1"}, CallTimeout, "8080"),
        ({"BREAKS": "1"}, InstanceDied, "exit status 1"),
    ):
        instance = await backend.create(spec("", runtime="image", handler=f"{NAME}@{image}", env=env), timeout_s=30)
        with pytest.raises(error, match=words) as told:
            await instance.init(timeout_s=2)
        if error is InstanceDied:
            assert told.value.log.text == "starts\nno database\n"
        await instance.destroy()


async def test_images_that_can_not_be_functions_are_refused(backend, spec, daemon, image):
    images.make(daemon, "acme/volume:1", "VOLUME /data")
    for name, why in (
        ("acme/absent:1", "is not on this host .docker pull acme/absent:1; docker.functions.pull is never"),
        ("acme/volume:1", "declares volumes"),
        (f"other/name@{image}", "is not on this host"),  # of another name's: an id is no way around names
    ):
        with pytest.raises(RuntimeUnavailable, match=why):
            await backend.resolve(read_image(name), tenant="acme", told=print)
    with pytest.raises(RuntimeUnavailable, match="is not on this host"):
        await backend.create(spec("", runtime="image", handler=f"{NAME}@sha256:{'0' * 64}"), timeout_s=30)


async def test_operators_say_which_images_tenants_may_name(dockerd, settings, daemon, image):
    mine = settings(dockerd, functions=ImageSettings(allowed=("base/*", "{tenant}/*")))
    async with running_docker(mine) as backend:
        await backend.resolve(read_image(NAME), tenant="acme", told=print)
        with pytest.raises(RuntimeUnavailable, match="may not be used here"):
            await backend.resolve(read_image(NAME), tenant="umbrella", told=print)


async def test_a_moved_tag_does_not_move_a_function(backend, spec, daemon, image):
    pinned = await backend.resolve(read_image(NAME), tenant="acme", told=print)
    images.make(daemon, NAME, version="2")
    assert await backend.resolve(read_image(NAME), tenant="acme", told=print) != pinned
    instance = await backend.create(spec("", runtime="image", handler=pinned.text), timeout_s=30)
    assert daemon.get(f"/containers/{instance.container}/json").json()["Image"] == image
    await instance.destroy()


async def test_images_are_pulled_as_the_operator_says(dockerd, settings, spec, daemon, image, told, tmp_path):
    with running_registry(user="ann", password="secret") as registry:
        name = f"{registry.address}/acme/tiny:1"
        first = registry.publish("acme/tiny", "1", marker="one")
        logins = tmp_path / "config.json"
        logins.write_text(json.dumps({"auths": {registry.address: {"auth": registry.auth}}}))
        async with running_docker(settings(dockerd)) as backend:
            with pytest.raises(RuntimeUnavailable, match="pull is never"):
                await backend.resolve(read_image(name), tenant="acme", told=told.append)
        async with running_docker(settings(dockerd, functions=ImageSettings(pull="missing"))) as backend:
            with pytest.raises(RuntimeUnavailable, match="could not be pulled") as refused:
                await backend.resolve(read_image(name), tenant="acme", told=told.append)
            assert "secret" not in str(refused.value)
        mine = settings(dockerd, functions=ImageSettings(pull="missing", credentials=logins))
        async with running_docker(mine) as backend:
            pinned = await backend.resolve(read_image(name), tenant="acme", told=told.append)
            assert pinned.text == f"{name}@{first}"
            assert any("Pull complete" in line for line in told)
            second = registry.publish("acme/tiny", "1", marker="two")
            assert await backend.resolve(read_image(name), tenant="acme", told=told.append) == pinned
            assert daemon.delete(f"/images/{pinned.by_digest}?force=true").status_code == 200
            # on a host that has it no more, it is fetched by its digest, for the first call
            instance = await backend.create(spec("", runtime="image", handler=pinned.text), timeout_s=60)
            with pytest.raises(HandlerLoadFailed, match="entrypoint /marker can not be run: Permission denied"):
                await instance.init(timeout_s=10)
            await instance.destroy()
            assert daemon.get(f"/images/{pinned.by_digest}/json").status_code == 200
        always = settings(dockerd, functions=ImageSettings(pull="always", credentials=logins, pull_s=30))
        async with running_docker(always) as backend:
            moved = await backend.resolve(read_image(name), tenant="acme", told=told.append)
            assert moved.text == f"{name}@{second}"
            registry.stall()
            registry.publish("acme/tiny", "1", marker="three")
        slow = settings(dockerd, functions=ImageSettings(pull="always", credentials=logins, pull_s=0.5))
        async with running_docker(slow) as backend:
            with anyio.fail_after(20), pytest.raises(RuntimeUnavailable, match=r"longer than 0\.5 s"):
                await backend.resolve(read_image(name), tenant="acme", told=told.append)
