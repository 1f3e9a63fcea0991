"""Code as files: whole or not at all, checked, shared and removed."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from uuid import UUID

import anyio
import pytest

from constellation.comet import code
from constellation.comet.code import CodeCorrupt, CodeShelf
from constellation.nova.domain.function import Code, Function, code_hash

pytestmark = pytest.mark.anyio

FILES = {"main.py": b"x = 1\n", "package/inner/data.bin": bytes(range(256))}
FUNCTION = Function(
    tenant="acme",
    namespace="n",
    name="f",
    id=UUID(int=1),
    runtime="python",
    handler="main.handler",
    code_version=3,
    code_hash=code_hash(FILES),
)


class Source:
    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.reads = files, 0

    async def code(self, _tenant: str, function_id: UUID, version: int) -> Code:
        self.reads += 1
        await anyio.sleep(0.01)
        return Code(function_id=function_id, version=version, hash="", files=self.files)


@pytest.fixture
async def shelf(tmp_path):
    root = tmp_path / "code"
    (root / "left" / "over").mkdir(parents=True)
    made = CodeShelf(root, Source(FILES), None, tmp_mb=64, log_limit_bytes=1000)
    mask = os.umask(0o077)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(made.run)
            yield made
            tasks.cancel_scope.cancel()
    finally:
        os.umask(mask)


async def test_files_are_readable_by_others_whatever_the_umask_is(shelf, tmp_path):
    spec = await shelf.acquire(FUNCTION)
    assert spec.code_dir == tmp_path / "code" / "acme" / str(FUNCTION.id) / f"3-{FUNCTION.code_hash[:12]}"
    for path in [spec.code_dir, *spec.code_dir.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path
    assert {str(p.relative_to(spec.code_dir)): p.read_bytes() for p in spec.code_dir.rglob("*") if p.is_file()} == FILES
    assert not (tmp_path / "code" / "left").exists()


async def test_many_boots_share_one_read(shelf):
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(shelf.acquire, FUNCTION)
    assert shelf._source.reads == 1


async def test_an_old_version_goes_when_its_last_user_does(shelf):
    first, second = await shelf.acquire(FUNCTION), await shelf.acquire(FUNCTION)
    newer = replace(FUNCTION, code_version=4)
    shelf.update(newer, is_suspended=False)
    live = await shelf.acquire(newer)
    shelf.release_nowait(first)
    await anyio.sleep(0.05)
    assert first.code_dir.exists()
    shelf.release_nowait(second)
    with anyio.fail_after(5):
        while first.code_dir.exists():
            await anyio.sleep(0.01)
    assert live.code_dir.exists()
    shelf.release_nowait(live)
    shelf.remove(FUNCTION.id)
    with anyio.fail_after(5):
        while live.code_dir.parent.parent.exists():
            await anyio.sleep(0.01)


async def test_code_that_is_not_what_its_hash_says_is_refused(shelf, tmp_path):
    with pytest.raises(CodeCorrupt, match="hash"):
        await shelf.acquire(replace(FUNCTION, code_hash="0" * 64))
    with anyio.fail_after(5):
        while [path for path in (tmp_path / "code").rglob("*") if path.is_file()]:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py", "a\0b"])
async def test_code_can_not_leave_its_directory(shelf, tmp_path, name):
    shelf._source.files = {name: b"x"}
    with pytest.raises(CodeCorrupt, match="path"):
        await shelf.acquire(replace(FUNCTION, code_hash=code_hash({name: b"x"})))
    assert not list(tmp_path.rglob("out.py"))


@pytest.fixture
async def early_shelf(tmp_path):
    made = CodeShelf(tmp_path / "code", Source(FILES), None, tmp_mb=64, log_limit_bytes=1000, looks_ahead=True)
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        yield made
        tasks.cancel_scope.cancel()


async def _until(condition) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.005)


async def test_code_is_fetched_before_its_first_use(early_shelf):
    path = early_shelf._path(FUNCTION)
    early_shelf.update(FUNCTION, is_suspended=False)
    await _until(lambda: path in early_shelf._ahead_bytes)
    assert (await early_shelf.acquire(FUNCTION)).code_dir == path
    assert early_shelf._source.reads == 1
    assert not early_shelf._ahead_bytes  # room for others again


async def test_code_that_was_fetched_for_nothing_goes_with_its_function(early_shelf):
    path = early_shelf._path(FUNCTION)
    early_shelf.update(FUNCTION, is_suspended=False)
    await _until(lambda: path in early_shelf._ahead_bytes)
    early_shelf.remove(FUNCTION.id)
    await _until(lambda: not path.exists())
    assert not early_shelf._ahead_bytes
    assert not early_shelf._directories


async def test_what_is_fetched_ahead_has_a_bound(early_shelf, monkeypatch):
    monkeypatch.setattr("constellation.comet.code._AHEAD_BYTES", 1)
    for number in (1, 2):
        early_shelf.update(replace(FUNCTION, id=UUID(int=number)), is_suspended=False)
    await _until(lambda: not early_shelf._wanted and early_shelf._ahead_bytes)
    assert early_shelf._source.reads == 1
    second = await early_shelf.acquire(replace(FUNCTION, id=UUID(int=2)))
    assert (second.code_dir / "main.py").read_bytes() == FILES["main.py"]


async def test_code_that_can_not_be_fetched_ahead_is_refused_at_its_first_use(early_shelf):
    damaged = replace(FUNCTION, id=UUID(int=2), code_hash="0" * 64)
    early_shelf.update(damaged, is_suspended=False)
    early_shelf.update(FUNCTION, is_suspended=False)
    await _until(lambda: early_shelf._path(FUNCTION) in early_shelf._ahead_bytes)
    with pytest.raises(CodeCorrupt):
        await early_shelf.acquire(damaged)


async def test_nothing_is_fetched_ahead_for_a_suspended_tenant(early_shelf):
    early_shelf.update(FUNCTION, is_suspended=True)
    assert not early_shelf._wanted


async def test_a_version_that_is_removed_takes_nothing_from_one_that_is_made(tmp_path):
    """The last version of a function takes the empty directories above it away."""
    old, new = tmp_path / "code/tenant/function/1", tmp_path / "code/tenant/function/2"

    def make() -> None:
        for _ in range(500):
            code.write_files({"main.py": b""}, code._partial(new))
            code._remove(new.with_name(".2"))

    def remove() -> None:
        for _ in range(500):
            code._remove(old)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, make)
        tasks.start_soon(anyio.to_thread.run_sync, remove)
