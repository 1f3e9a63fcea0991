"""Functions in Go, from their source to their answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call
from constellation.comet.runtimes.go.recipe import RUNTIME

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.timeout(600)]


async def test_hello(rig):
    request = await rig.built("go", {"main.go": Path(RUNTIME.hello).read_text()}, handler="main.Handler")
    async with rig.running(request) as instance:
        outcome = await instance.invoke(Call(request_id=uuid7(), payload=b'{"name": "Ada"}', timeout_s=20))
    assert json.loads(outcome.output) == {"message": "Hello, Ada!"}
