"""Leaves: their limits hold for a real sandbox, their figures are true, and nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from constellation.native import cgroups
from constellation.native.cgroups import CgroupSupport, Leaf
from constellation.native.errors import ValueOutOfRange
from constellation.native.sandbox import Limits
from constellation.native.zygote import ExitStatus

pytestmark = pytest.mark.anyio
GROUP = f"ct-test-{os.getpid()}"


@pytest.fixture
def support() -> Iterator[CgroupSupport]:
    found = cgroups.detect(GROUP)
    if found.limits["memory"] == "none" or found.limits["pids"] == "none":
        for directory in found.dirs:
            Path(directory).rmdir()
        pytest.skip(f"no memory and pids controllers here: {dict(found.limits)}")
    yield found
    for directory in found.dirs:
        assert [p.name for p in Path(directory).iterdir() if p.is_dir()] == []  # every leaf was removed
        Path(directory).rmdir()


async def remove(leaf: Leaf) -> None:
    with anyio.fail_after(10):
        while leaf.kill() or not leaf.remove():
            await anyio.sleep(0.01)


def membership(leaf: Leaf) -> dict[str, object]:
    return {"cgroup_dir": leaf.cgroup_dir, "task_files": leaf.task_files, "limits": Limits()}


@pytest.mark.sandbox
async def test_memory_limit_kills_and_is_counted(root_rig, support):
    leaf = Leaf.create(support, "memory")
    leaf.limit(memory_bytes=32 << 20, cpu_millis=1000, processes=32)
    try:
        async with root_rig.executing() as zygote:
            done = await root_rig.python(zygote, "x = bytearray(200 << 20); print('survived')", **membership(leaf))
        assert done.status == ExitStatus(code=0, signal=signal.SIGKILL)
        assert "survived" not in done.out
        assert leaf.oom_kills() >= 1
        assert 16 << 20 < leaf.usage().memory_peak_bytes <= 32 << 20
    finally:
        await remove(leaf)


@pytest.mark.sandbox
async def test_files_in_tmp_count_as_memory(root_rig, support):
    leaf = Leaf.create(support, "tmp")
    leaf.limit(memory_bytes=64 << 20, cpu_millis=None, processes=None)
    script = "import os\nopen('/tmp/x', 'wb').write(bytes(6 << 20)); os.write(1, b'written'); os.read(3, 1)"
    try:
        plan = root_rig.plan(root_rig.who.python, "-I", "-S", "-c", script, **membership(leaf))
        async with root_rig.executing() as zygote, root_rig.spawned(zygote, plan) as (_, _ours, output):
            with anyio.fail_after(20):
                await anyio.wait_readable(output)
            assert leaf.usage().memory_bytes >= 6 << 20
    finally:
        await remove(leaf)


@pytest.mark.sandbox
async def test_process_limit_holds_against_a_fork_bomb(root_rig, support):
    leaf = Leaf.create(support, "pids")
    leaf.limit(memory_bytes=128 << 20, cpu_millis=None, processes=12)
    script = (
        "import os, time\nmade = 0\n"
        "try:\n    while made < 200:\n        if os.fork() == 0: time.sleep(60); os._exit(0)\n        made += 1\n"
        "except BlockingIOError: pass\nprint(made, flush=True)\nos.read(3, 1)"
    )
    try:
        plan = root_rig.plan(root_rig.who.python, "-I", "-S", "-c", script, **membership(leaf))
        async with root_rig.executing() as zygote, root_rig.spawned(zygote, plan) as (_, _ours, output):
            with anyio.fail_after(20):
                await anyio.wait_readable(output)
            assert os.read(output, 100) == b"11\n"
            assert leaf.usage().processes == 12
            assert leaf.kill() == 12
    finally:
        await remove(leaf)


@pytest.mark.sandbox
async def test_a_sandbox_sees_its_leaf_as_the_root(root_rig, support):
    leaf = Leaf.create(support, "root")
    try:
        async with root_rig.executing() as zygote:
            done = await root_rig.shell(zygote, "cat /proc/self/cgroup", **membership(leaf))
        assert GROUP not in done.out
        assert all(line.endswith(":/") for line in done.out.splitlines())
    finally:
        await remove(leaf)


@pytest.mark.sandbox
async def test_cpu_time_is_counted(root_rig, support):
    leaf = Leaf.create(support, "cpu")
    script = "import time\nwhile time.process_time() < 0.05: pass"
    try:
        async with root_rig.executing() as zygote:
            await root_rig.python(zygote, script, **membership(leaf))
        assert leaf.usage().cpu_us >= 50_000
    finally:
        await remove(leaf)


def test_limits_can_be_raised_lowered_and_lifted(support):
    leaf = Leaf.create(support, "change")
    try:
        for memory in (64 << 20, 256 << 20, 16 << 20, None):
            leaf.limit(memory_bytes=memory, cpu_millis=500, processes=10)
        for directory in support.dirs:
            quota = Path(directory, "change", "cpu.cfs_quota_us")
            assert not quota.exists() or quota.read_text() == "50000\n"
        leaf.limit(memory_bytes=None, cpu_millis=None, processes=None)
        assert Leaf.create(support, "change").usage().processes == 0  # taken over
    finally:
        assert leaf.remove()
    assert leaf.remove()  # already gone


def test_a_busy_leaf_is_not_removed(support):
    leaf = Leaf.create(support, "busy")
    sleeper = subprocess.Popen(["/bin/sleep", "60"])
    try:
        for file in leaf.task_files or [f"{leaf.cgroup_dir}/cgroup.procs"]:
            Path(file).write_text(str(sleeper.pid))
        assert not leaf.remove()
        assert leaf.kill() == 1
    finally:
        assert sleeper.wait() == -signal.SIGKILL
    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(remove, leaf)


def test_names_that_are_not_one_component_are_refused(support):
    for name in ("", ".", "..", "a/b", "x" * 200):
        with pytest.raises(ValueOutOfRange):
            Leaf.create(support, name)
    with pytest.raises(ValueOutOfRange):
        cgroups.detect("a/b")


@pytest.fixture
def unified() -> Iterator[Path]:
    """A v2 group of ours. Few hosts have v1 and v2 with the same controllers, so only membership is tried on it."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mount = next((line[4] for line in lines if "cgroup2" in line), None)
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root and a cgroup2 mount")
    group = Path(mount, GROUP)
    group.mkdir()
    yield group
    until = time.monotonic() + 10
    for directory in (*(p for p in group.iterdir() if p.is_dir()), group):
        while (directory / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.01)
        directory.rmdir()


@pytest.mark.root
@pytest.mark.sandbox
async def test_a_child_can_be_born_in_a_v2_group(root_rig, unified):
    plan = root_rig.plan("/bin/sleep", "60", cgroup_dir=str(unified))
    async with root_rig.executing() as zygote, root_rig.spawned(zygote, plan) as (child, _, _out):
        assert (unified / "cgroup.procs").read_text().split() == [str(child.pid)]


@pytest.mark.root
@pytest.mark.sandbox
async def test_an_ordinary_users_children_are_born_in_its_delegated_group(rig, unified):
    host, leaf = unified / "host", unified / "leaf"
    for directory in (host, leaf):
        directory.mkdir()
    for directory in (unified, host, leaf):
        os.chown(directory, rig.who.uid, rig.who.gid)
        os.chown(directory / "cgroup.procs", rig.who.uid, rig.who.gid)
    async with rig.forking("channel.sendall(b'up'); channel.recv(1)") as zygote:
        (host / "cgroup.procs").write_text(str(zygote.pid))
        async with rig.spawned(zygote, rig.plan(cgroup_dir=str(leaf))) as (child, ours, _out):
            with anyio.fail_after(10):
                await anyio.wait_readable(ours)
            assert (leaf / "cgroup.procs").read_text().split() == [str(child.pid)]
