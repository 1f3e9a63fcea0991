"""A sandbox that waits becomes one function's: code, sizes and limits come from outside, for root and ordinary users."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from constellation.native.sandbox import Claim, Directory
from constellation.native.zygote import SpawnFailed

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]

# Tells what it has before and after the claim; each report is asked for with one byte.
REPORT = """
import resource
while channel.recv(1):
    status = os.statvfs('/code')
    try:
        open('/code/x', 'w')
        wrote = 'written'
    except OSError as error:
        wrote = error.strerror
    channel.sendall(json.dumps({
        'code': sorted(os.listdir('/code')), 'wrote': wrote, 'is_nosuid': bool(status.f_flag & os.ST_NOSUID),
        'processes': resource.getrlimit(resource.RLIMIT_NPROC), 'addresses': resource.getrlimit(resource.RLIMIT_AS),
        'tmp': os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize,
        'shm': os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize,
        'mounts': open('/proc/self/mountinfo').read(), 'fds': sorted(os.listdir('/proc/self/fd')),
        'net': os.readlink('/proc/self/ns/net'),
    }).encode())
"""
SIZES = {"processes": 17, "address_space_bytes": 1 << 30, "tmp_bytes": 3 << 20, "shm_bytes": 2 << 20}


@pytest.fixture
def code() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ct-code-"))  # not below a directory of root's alone
    directory.chmod(0o755)
    (directory / "main.py").write_text("x = 1\n")
    (directory / "main.py").chmod(0o644)
    yield directory
    shutil.rmtree(directory)


def _plan(rig):
    plan = rig.plan()
    return rig.plan(entries=(*plan.entries, Directory(target="/code")))


async def _report(ours):
    ours.send(b"?")
    with anyio.fail_after(20):
        await anyio.wait_readable(ours)
    return json.loads(ours.recv(1 << 20))


async def test_a_claim_brings_code_limits_and_sizes(rig, code):
    async with rig.forking(REPORT) as zygote, rig.spawned(zygote, _plan(rig)) as (child, ours, _):
        before = await _report(ours)
        assert (before["code"], before["wrote"]) == ([], "Read-only file system")
        await zygote.claim(child, Claim(code_dir=code, **SIZES), timeout_s=10)
        after = await _report(ours)
        assert (after["code"], after["wrote"]) == (["main.py"], "Read-only file system")
        assert after["is_nosuid"]
        assert (after["processes"], after["addresses"]) == ([17, 17], [1 << 30, 1 << 30])
        assert (after["tmp"], after["shm"]) == (3 << 20, 2 << 20)
        assert after["fds"] == before["fds"]
        gained = set(after["mounts"].splitlines()) - set(before["mounts"].splitlines())
        assert sorted({line.split()[4] for line in gained}) == ["/code", "/dev/shm", "/tmp"]


async def test_what_is_not_said_stays(rig, code):
    async with rig.forking(REPORT) as zygote, rig.spawned(zygote, _plan(rig)) as (child, ours, _):
        before = await _report(ours)
        await zygote.claim(child, Claim(code_dir=code), timeout_s=10)
        after = await _report(ours)
        for name in ("processes", "addresses", "tmp", "shm"):
            assert after[name] == before[name]


async def test_a_server_that_claimed_goes_on_as_before(rig, code):
    networks = set()
    with ExitStack() as held:
        async with rig.forking(REPORT) as zygote:
            for _ in range(3):
                async with rig.spawned(zygote, _plan(rig)) as (child, ours, _):
                    # The number of a namespace that is gone is given to the next one; of one that is held it is not
                    held.enter_context(Path(f"/proc/{child.pid}/ns/net").open())
                    assert (await _report(ours))["code"] == []
                    await zygote.claim(child, Claim(code_dir=code), timeout_s=10)
                    networks.add((await _report(ours))["net"])
    assert len(networks) == 3
    assert str(Path("/proc/self/ns/net").readlink()) not in networks


async def test_a_claim_that_fails_says_where(rig, code):
    async with rig.forking(REPORT) as zygote:
        async with rig.spawned(zygote, _plan(rig)) as (child, _, _):
            with pytest.raises(SpawnFailed) as failed:
                await zygote.claim(child, Claim(code_dir=code / "absent"), timeout_s=10)
            assert failed.value.step == "source"
            child.kill_nowait()
            await child.wait()
            with pytest.raises(SpawnFailed) as failed:
                await zygote.claim(child, Claim(code_dir=code), timeout_s=10)
            assert failed.value.step == "request"
        async with rig.spawned(zygote, rig.plan()) as (child, _, _):  # one that was not made to be claimed
            with pytest.raises(SpawnFailed) as failed:
                await zygote.claim(child, Claim(code_dir=code), timeout_s=10)
            assert failed.value.step == "code"
