"""Functions in Rust, from their source to their answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call
from constellation.comet.runtimes.rust.recipe import RUNTIME

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]


async def test_hello(rig):
    request = await rig.built("rust", {"main.rs": Path(RUNTIME.hello).read_text()})
    async with rig.running(request) as instance:
        outcome = await instance.invoke(Call(request_id=uuid7(), payload=b'{"name": "Ada"}', timeout_s=20))
    assert json.loads(outcome.output) == {"message": "Hello, Ada!"}
