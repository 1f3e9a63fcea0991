from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from constellation.comet.namespace.spares import Shape, Spares
from constellation.comet.runtimes.node.recipe import RUNTIME
from constellation.comet.runtimes.recipe import Interpreter
from constellation.comet.runtimes.registry import Installed

pytestmark = pytest.mark.anyio
NODE = Installed(runtime=RUNTIME, interpreter=Interpreter(path=Path("/usr/bin/node"), version="22.0.0"))


async def test_it_has_settled_when_what_it_let_go_of_is_gone():
    happened = []
    may_go = anyio.Event()

    async def make(_shape):
        return SimpleNamespace(is_alive=True, spawned=SimpleNamespace(pid=os.getpid(), status=None))

    async def destroy(_sandbox):
        await may_go.wait()
        happened.append("gone")

    async def settle():
        await spares.settled()
        happened.append("settled")

    first, *others = (Shape(installed=NODE, memory_mb=size) for size in (64, 96, 128, 160))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            spares = Spares(tasks, make=make, destroy=destroy)
            spares.keep([first], budget_bytes=1 << 40)
            await spares.settled()
            for shape in others:  # the last has the first one's place
                with spares.caller():
                    assert spares.take_nowait(shape) is None
            tasks.start_soon(settle)
            while spares.count < 6:
                await anyio.sleep(0.001)
            await anyio.sleep(0.02)  # it looks every few milliseconds
            may_go.set()
    assert happened == ["gone", "gone", "settled"]
