from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.layers import LayerCorrupt, LayerShelf
from constellation.nova.domain.function import Function, code_hash
from constellation.nova.domain.layer_pin import LayerPin

pytestmark = pytest.mark.anyio

ONE = {"python/shared.py": b"one", "python/own.py": b"1", "bin/tool": b"text", "d/x": b""}
TWO = {"python/shared.py": b"two", "d": b"a file now", "lib/script": b"#!/bin/sh\n"}


class Source:
    """Contents by their hash, and how often each was read."""

    def __init__(self, *contents: dict[str, bytes]) -> None:
        self.contents = {code_hash(each): each for each in contents}
        self.reads = 0

    async def content(self, tenant: str, digest: str) -> AsyncIterator[tuple[str, bytes]]:
        self.reads += 1
        for path in sorted(self.contents[digest]):
            await anyio.sleep(0)
            yield path, self.contents[digest][path]


def function(*contents: dict[str, bytes]) -> Function:
    pins = tuple(LayerPin(name=f"l{n}", version=1, hash=code_hash(each)) for n, each in enumerate(contents))
    return Function(
        tenant="t", namespace="n", name="f", id=uuid7(), runtime="python", handler="main.handler", layers=pins
    )


def shown(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


async def test_one_layer_is_its_own_directory_and_several_are_merged(tmp_path: Path) -> None:
    source = Source(ONE, TWO)
    shelf = LayerShelf(tmp_path, source)
    one, two = map(code_hash, (ONE, TWO))
    alone = await shelf.acquire("t", [one])
    assert shown(alone) == ONE
    both = await shelf.acquire("t", [one, two])
    assert shown(both) == {"python/own.py": b"1", "bin/tool": b"text", **TWO}
    other = await shelf.acquire("t", [two, one])
    assert shown(other)["python/shared.py"] == b"one"
    assert source.reads == 2  # each content was written once
    assert (both / "python/own.py").samefile(alone / "python/own.py")
    modes = {name: (both / name).stat().st_mode & 0o7777 for name in ("bin/tool", "lib/script", "python/own.py")}
    assert modes == {"bin/tool": 0o755, "lib/script": 0o755, "python/own.py": 0o644}


async def test_many_at_once_make_it_once(tmp_path: Path) -> None:
    source = Source(ONE, TWO)
    shelf = LayerShelf(tmp_path, source)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(shelf.acquire, "t", [code_hash(ONE), code_hash(TWO)])
    assert source.reads == 2


async def test_two_tenants_share_nothing(tmp_path: Path) -> None:
    shelf = LayerShelf(tmp_path, Source(ONE))
    mine, theirs = await shelf.acquire("a", [code_hash(ONE)]), await shelf.acquire("b", [code_hash(ONE)])
    assert not (mine / "bin/tool").samefile(theirs / "bin/tool")


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out"])
async def test_what_would_leave_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    shelf = LayerShelf(tmp_path / "root", Source(hostile := {name: b"x"}))
    with pytest.raises(LayerCorrupt):
        await shelf.acquire("t", [code_hash(hostile)])
    assert not (tmp_path / "out").exists()


async def test_what_has_not_its_hash_is_refused_and_tried_again(tmp_path: Path) -> None:
    source = Source(ONE)
    digest = code_hash(ONE)
    source.contents[digest] = {**ONE, "python/own.py": b"another"}
    shelf = LayerShelf(tmp_path, source)
    with pytest.raises(LayerCorrupt, match="hash"):
        await shelf.acquire("t", [digest])
    source.contents[digest] = ONE
    assert shown(await shelf.acquire("t", [digest])) == ONE


async def test_directories_go_when_neither_an_instance_nor_a_function_needs_them(tmp_path: Path) -> None:
    shelf = LayerShelf(tmp_path, Source(ONE, TWO))
    used = function(ONE, TWO)
    async with anyio.create_task_group() as tasks:
        await tasks.start(shelf.run)
        shelf.update(used, is_suspended=False)
        both = await shelf.acquire("t", [pin.hash for pin in used.layers])
        shelf.remove(used.id)
        await anyio.wait_all_tasks_blocked()
        assert both.is_dir()  # an instance has it
        shelf.release_nowait(both)
        with anyio.fail_after(10):
            while (tmp_path / "t").exists():
                await anyio.sleep(0.01)
        assert list(tmp_path.iterdir()) == []
        again = await shelf.acquire("t", [code_hash(ONE)])  # as if it had never been there
        assert shown(again) == ONE
        tasks.cancel_scope.cancel()
