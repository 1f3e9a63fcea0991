"""Real sandboxes for the tests: as root with uids of their own, and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from constellation.native import libexec_path, probe
from constellation.native.sandbox import Limits, Plan, standard_entries
from constellation.native.zygote import ExitStatus, Spawned, Zygote

NOBODY = 65534
UID_BASE = 1_800_000 + os.getpid() % 50_000  # not those of a platform, nor of another test run


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who runs the fork server, and so who its sandboxes are on the host."""

    name: str
    uid: int
    gid: int
    prefix: tuple[str, ...]  # of the fork server's command
    python: str  # an interpreter that this user may execute


def _identities() -> list[Identity]:
    own_python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    if os.geteuid() != 0:
        return [Identity(name="ordinary", uid=os.geteuid(), gid=os.getegid(), prefix=(), python=own_python)]
    drop = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    # A root's interpreter may lie where nobody else can go; the system's own is the next best
    everybodys = own_python if own_python.startswith("/usr") else "/usr/bin/python3"
    return [
        Identity(name="root", uid=UID_BASE, gid=UID_BASE, prefix=(), python=own_python),
        Identity(name="ordinary", uid=NOBODY, gid=NOBODY, prefix=drop, python=everybodys),
    ]


IDENTITIES = _identities()


@pytest.fixture(params=IDENTITIES, ids=lambda who: who.name)
def who(request: pytest.FixtureRequest) -> Identity:
    return request.param


@pytest.fixture(scope="session")
def libexec() -> Iterator[Path]:
    """Our helper programs where every user can execute them."""
    directory = Path(tempfile.mkdtemp(prefix="ct-libexec-"))
    directory.chmod(0o755)
    for name in ("ct-zygote", "ct-guest", "ct_fork.abi3.so"):
        shutil.copy(libexec_path(name), directory / name)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def needs_sandboxes(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("sandbox") is not None:
        able = probe.probe()
        if not able.is_able:
            pytest.skip(f"no sandboxes here: {able.reason}; {able.advice}")


def processes_of(uid: int) -> list[int]:
    """Pids on the host that live under a uid. A zombie whose fork server was killed is init's to bury, and holds nothing."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "State:\tZ (zombie)" in lines:
            continue
        if any(line.startswith("Uid:") and str(uid) in line.split()[1:] for line in lines):
            found.append(int(status.parent.name))
    return found


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    mounts, fds = Path("/proc/self/mountinfo").read_text(), set(Path("/proc/self/fd").iterdir())
    yield
    until = time.monotonic() + 10  # what a killed server leaves behind dies at once, but not before it does
    while processes_of(UID_BASE) and time.monotonic() < until:
        time.sleep(0.01)
    assert processes_of(UID_BASE) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert set(Path("/proc/self/fd").iterdir()) <= fds


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a sandboxed program printed, and how it ended."""

    out: str
    status: ExitStatus


class Rig:
    """Fork servers and plans of one identity."""

    def __init__(self, who: Identity, libexec: Path) -> None:
        self.who, self.libexec = who, libexec

    def plan(self, *argv: str, env: Mapping[str, str] | None = None, **changes: object) -> Plan:
        base = Plan(
            host_uid=self.who.uid,
            host_gid=self.who.gid,
            entries=standard_entries(
                prefixes=[Path(self.who.python).parent.parent], tmp_bytes=8 << 20, shm_bytes=1 << 20
            ),
            argv=argv,
            env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **(env or {})},
            limits=Limits(processes=64),
        )
        return replace(base, **changes)

    @asynccontextmanager
    async def serving(self, *command: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Zygote]:
        # what Zygote does for an ordinary user must be done by hand for one that root has made
        dropped = (*self.who.prefix, str(self.libexec / "ct-zygote"), "--confine") if self.who.prefix else ()
        zygote = Zygote([*dropped, *command], name="test", env=env)
        async with anyio.create_task_group() as tasks:
            await tasks.start(zygote.run)
            try:
                yield zygote
            finally:
                zygote.stop_nowait()

    def executing(self):
        return self.serving(str(self.libexec / "ct-zygote"))

    def forking(self, body: str):
        """A Python fork server whose children run `body` with their channel as the socket `channel`."""
        boot = (
            f"import sys; sys.path.append({str(self.libexec)!r})\n"
            "import ct_fork, os, random, socket, json, time\n"
            "channel = socket.socket(fileno=ct_fork.serve(int(sys.argv[1])))\n" + body
        )
        return self.serving(self.who.python, "-I", "-S", "-c", boot)

    @asynccontextmanager
    async def spawned(self, zygote: Zygote, plan: Plan) -> AsyncIterator[tuple[Spawned, socket.socket, int]]:
        """A child with the host's end of its channel and the read end of its output; both are closed after."""
        read_end, write_end = os.pipe()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                child = await zygote.spawn(plan, channel_fd=theirs.fileno(), stdio_fd=write_end, timeout_s=10)
                theirs.close()
                os.close(write_end)
                write_end = -1
                try:
                    yield child, ours, read_end
                finally:
                    child.kill_nowait()
                    with anyio.move_on_after(10, shield=True):
                        await child.wait()
                    child.close()
            finally:
                os.close(read_end)
                if write_end >= 0:
                    os.close(write_end)

    async def finish(self, zygote: Zygote, plan: Plan) -> Finished:
        async with self.spawned(zygote, plan) as (child, _, output):
            out = await read_all(output)
            with anyio.fail_after(20):
                status = await child.wait()
        return Finished(out=out, status=status)

    async def shell(self, zygote: Zygote, script: str, **changes: object) -> Finished:
        return await self.finish(zygote, self.plan("/bin/sh", "-c", script, **changes))

    async def python(self, zygote: Zygote, script: str, *args: str, **changes: object) -> Finished:
        return await self.finish(zygote, self.plan(self.who.python, "-I", "-S", "-c", script, *args, **changes))


async def read_all(fd: int) -> str:
    pieces = []
    with anyio.fail_after(30):
        while True:
            await anyio.wait_readable(fd)
            piece = os.read(fd, 65536)
            if not piece:
                return b"".join(pieces).decode(errors="replace")
            pieces.append(piece)


@pytest.fixture
def rig(who: Identity, libexec: Path) -> Rig:
    return Rig(who, libexec)


@pytest.fixture
def root_rig(libexec: Path) -> Rig:
    if os.geteuid() != 0:
        pytest.skip("needs root: limits by cgroup v1 and uids of their own")
    return Rig(IDENTITIES[0], libexec)
