"""Isolated functions: an instance serves one call, whoever lets the call in."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.nova.domain.function import Mode

from .conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

LEAVES = """
import os, uuid
ME = uuid.uuid4().hex
def handler(event, context):
    had = os.path.exists("/tmp/left")
    open("/tmp/left", "w").close()
    if event == "raise":
        raise ValueError(ME)
    return [ME, had]
"""


async def test_each_call_has_a_sandbox_that_nobody_had_before(comet):
    await comet.deploy("alone", LEAVES, mode=Mode.ISOLATED, max_replicas=2)
    answers = []

    async def call() -> None:
        answers.append(await comet.output("alone"))

    for _ in range(3):
        await call()
    raised = json.loads((await comet.invoke("alone", "raise")).error)["message"]
    async with anyio.create_task_group() as tasks:
        for _ in range(6):  # more than there may be instances
            tasks.start_soon(call)
    assert len({raised, *(me for me, _ in answers)}) == 10
    assert not any(had for _, had in answers)


async def test_a_sandbox_may_be_there_before_its_call(comet):
    await comet.deploy("alone", LEAVES, mode=Mode.ISOLATED, min_replicas=1)
    seen = set()
    for _ in range(2):

        async def is_ready():
            return [counts.idle for function, counts in comet.plane.pool.stats() if function.name == "alone"] == [1]

        await eventually(is_ready)
        reply = await comet.invoke("alone")
        assert not reply.cold_start
        seen.add(json.loads(reply.output)[0])
    assert len(seen) == 2


async def test_a_function_becomes_isolated_with_its_next_call(comet):
    function = await comet.deploy("f", LEAVES, max_replicas=1)
    first = await comet.output("f")
    assert (await comet.output("f"))[0] == first[0]
    await comet.deploy("f", LEAVES, mode=Mode.ISOLATED)
    assert function.mode is Mode.PROCESS

    async def has_changed():
        return (await comet.output("f"))[0] != first[0]

    await eventually(has_changed)
    assert not (await comet.output("f"))[1]
    for _ in range(2):  # the second is C's, where there is C
        *pieces, _end = await comet.stream("f")
        assert json.loads(b"".join(piece.data for piece in pieces))[1] is False
    assert not (await comet.output("f"))[1]
