"""ct_fork: children of a warm interpreter, each in a sandbox of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.native.sandbox import Bind, Directory, Link, TextFile
from constellation.native.zygote import ExitStatus, SpawnFailed

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]

REPORT = """
import uuid
status = open('/proc/self/status').read()
channel.sendall(json.dumps({
    'random': random.random(), 'urandom': os.urandom(16).hex(), 'uuid': str(uuid.uuid4()), 'pid': os.getpid(),
    'uid': os.getuid(), 'env': dict(os.environ), 'status': status, 'root': sorted(os.listdir('/')),
    'fds': sorted(os.readlink('/proc/self/fd/' + n).split(':')[0] for n in os.listdir('/proc/self/fd')
                  if os.path.lexists('/proc/self/fd/' + n)),
}).encode())
channel.recv(1)
os._exit(7)
"""


async def receive(ours: socket.socket) -> bytes:
    with anyio.fail_after(20):
        await anyio.wait_readable(ours)
    return ours.recv(1 << 20)


async def reports(rig, count):
    found = []
    async with rig.forking(REPORT) as zygote:
        for n in range(count):
            async with rig.spawned(zygote, rig.plan(env={"N": str(n)})) as (child, ours, _):
                found.append(json.loads(await receive(ours)))
                ours.send(b"x")
                with anyio.fail_after(10):
                    assert await child.wait() == ExitStatus(code=7, signal=0)
    return found


async def test_clones_never_draw_the_same(rig):
    found = await reports(rig, 3)
    for name in ("random", "urandom", "uuid"):
        assert len({one[name] for one in found}) == 3, name


async def test_a_clone_is_sandboxed_like_a_program(rig):
    (one,) = await reports(rig, 1)
    assert one["pid"] == 1
    assert one["uid"] == 1000
    status = dict(line.split(":", 1) for line in one["status"].splitlines())
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert status["Threads"].strip() == "1"
    assert "home" not in one["root"]


async def test_a_clone_has_no_descriptor_but_its_own(rig):
    (one,) = await reports(rig, 1)
    assert one["fds"] == ["/dev/null", "pipe", "pipe", "socket"]


async def test_environment_is_the_plans_alone(rig):
    one, two = await reports(rig, 2)
    assert one["env"] == {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "N": "0"}
    assert two["env"]["N"] == "1"


async def test_nothing_of_an_earlier_childs_environment_is_in_memory(rig):
    body = """
if 'SECRET' not in os.environ:
    found = 0
    for line in open('/proc/self/maps'):
        spread, mode = line.split()[:2]
        if mode.startswith('rw'):
            low, high = (int(x, 16) for x in spread.split('-'))
            with open('/proc/self/mem', 'rb') as memory:
                memory.seek(low)
                # spelled backwards, so that the search does not find itself
                found += memory.read(high - low)[::-1].count(b'9-elat-llet')
    channel.sendall(str(found).encode())
else:
    channel.sendall(b'ready')
channel.recv(1)
"""
    plan = rig.plan(env={"SECRET": "tell-tale-9"})
    async with rig.forking(body) as zygote, rig.spawned(zygote, plan) as (_, ours, _out):
        assert await receive(ours) == b"ready"
        async with rig.spawned(zygote, rig.plan()) as (_, other, _out2):
            assert await receive(other) == b"0"


async def test_printing_goes_to_the_instances_output(rig):
    async with (
        rig.forking("print('to stdout', flush=True); os.write(2, b'to stderr\\n'); os._exit(0)") as zygote,
        rig.spawned(zygote, rig.plan()) as (child, _, output),
    ):
        with anyio.fail_after(10):
            await child.wait()
            await anyio.wait_readable(output)
        assert os.read(output, 1000).splitlines() == [b"to stdout", b"to stderr"]


async def test_threads_and_subprocesses_work_in_a_clone(rig):
    body = """
import threading, subprocess
lock, seen = threading.RLock(), []
def add(n):
    with lock: seen.append(n)
workers = [threading.Thread(target=add, args=(n,)) for n in range(8)]
for w in workers: w.start()
for w in workers: w.join()
said = subprocess.run(['/bin/echo', 'child'], capture_output=True, text=True).stdout.strip()
channel.sendall(f'{len(seen)} {said}'.encode())
channel.recv(1)
"""
    async with rig.forking(body) as zygote, rig.spawned(zygote, rig.plan()) as (_, ours, _out):
        assert await receive(ours) == b"8 child"


async def test_an_interpreter_with_threads_refuses_to_fork(rig):
    boot = (
        f"import sys; sys.path.append({str(rig.libexec)!r})\n"
        "import ct_fork, threading, time\n"
        "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
        "ct_fork.serve(int(sys.argv[1]))\n"
    )
    async with rig.serving(rig.who.python, "-I", "-S", "-c", boot) as zygote:
        with pytest.raises(SpawnFailed, match="one thread"):
            await rig.finish(zygote, rig.plan())


async def test_a_clone_may_execute_a_program_too(rig):
    async with rig.forking("") as zygote:
        done = await rig.finish(zygote, rig.plan("/bin/echo", "executed"))
    assert done.out == "executed\n"


async def test_the_interpreters_file_can_not_be_changed(rig, tmp_path):
    """An ordinary user's sandbox has the user's own uid, so the modes alone would allow it."""
    body = """
said = []
for change in (lambda: os.chmod('/proc/self/exe', 0o755), lambda: os.utime('/proc/self/exe'),
               lambda: open('/proc/self/exe', 'r+b'), lambda: os.setxattr('/proc/self/exe', 'user.x', b'y')):
    try: change(); said.append('done')
    except OSError as error: said.append(error.strerror)
channel.sendall(json.dumps(said).encode())
channel.recv(1)
"""
    if rig.who.name == "ordinary" and os.geteuid() == 0:
        # an interpreter that belongs to the user: the system's own, copied
        home = Path(tempfile.mkdtemp(prefix="ct-home-"))
        own = home / "bin" / "python3"
        own.parent.mkdir()
        shutil.copy(rig.who.python, own)
        for path in (home, own.parent, own):
            path.chmod(0o755)
            os.chown(path, rig.who.uid, rig.who.gid)
        rig.who = replace(rig.who, python=str(own))
    try:
        async with rig.forking(body) as zygote, rig.spawned(zygote, rig.plan()) as (_, ours, _out):
            said = json.loads(await receive(ours))
    finally:
        if rig.who.name == "ordinary" and os.geteuid() == 0:
            shutil.rmtree(home)
    assert "done" not in said
    if rig.who.name == "ordinary":
        assert said[:2] == ["Read-only file system"] * 2


async def test_a_server_runs_no_python_between_its_forks(rig):
    boot = (
        f"import os, sys; sys.path.append({str(rig.libexec)!r})\n"
        "import ct_fork, socket\n"
        "seen = []\n"
        "os.register_at_fork(before=lambda: seen.append('before'), after_in_parent=lambda: seen.append('parent'),\n"
        "                    after_in_child=lambda: seen.append('child'))\n"
        "channel = socket.socket(fileno=ct_fork.serve(int(sys.argv[1])))\n"
        "if os.fork() == 0: os._exit(0)\n"  # a child's own forks are ordinary ones
        "channel.sendall(' '.join(seen).encode()); channel.recv(1); os._exit(0)\n"
    )
    async with rig.serving(rig.who.python, "-I", "-S", "-c", boot) as zygote:
        for _ in range(3):
            async with rig.spawned(zygote, rig.plan()) as (_child, ours, _out):
                assert await receive(ours) == b"before child before parent"


async def test_arranged_memory_holds_what_it_held(rig):
    """And a child gets more of it than the server had set aside."""
    boot = (
        f"import os, sys; sys.path.append({str(rig.libexec)!r})\n"
        "import ct_fork\n"
        "ct_fork.arrange(); ct_fork.arrange()\n"
        "import socket\n"
        "small = [str(n) for n in range(200_000)]; large = [bytes([n % 251]) * 3000 for n in range(2_000)]\n"
        "channel = socket.socket(fileno=ct_fork.serve(int(sys.argv[1])))\n"
        "more = [str(n) for n in range(1_500_000)]; del small[::2]; del more[::2]\n"
        "again = [(n,) for n in range(500_000)]\n"
        "fine = all(text == str(2 * n + 1) for n, text in enumerate(small)) and sum(map(int, more)) == 750_000 ** 2\n"
        "fine = fine and all(part == bytes([n % 251]) * 3000 for n, part in enumerate(large)) and again[-1] == (499_999,)\n"
        "channel.sendall(str(fine).encode()); channel.recv(1); os._exit(0)\n"
    )
    async with rig.serving(rig.who.python, "-I", "-S", "-c", boot) as zygote:
        for _ in range(2):
            async with rig.spawned(zygote, rig.plan()) as (_child, ours, _out):
                assert await receive(ours) == b"True"


async def test_no_memory_of_a_child_can_be_written_and_run(rig):
    """Of the interpreter, libc and the fork server, what the linker protected stays so; imported modules share theirs."""
    boot = (
        f"import os, sys; sys.path.append({str(rig.libexec)!r})\n"
        "import ct_fork\n"
        "ct_fork.arrange()\n"
        "import _decimal, socket\n"
        "channel = socket.socket(fileno=ct_fork.serve(int(sys.argv[1])))\n"
        "lines = [line.split() for line in open('/proc/self/maps')]\n"
        "both = [line for line in lines if 'wx' in line[1]]\n"
        "names = ('libc.so', 'ct_fork')\n"
        "protected = [name for name in names if any(name in line[-1] and line[1] == 'r--p' for line in lines)]\n"
        "channel.sendall(f'{both} {protected} {_decimal.Decimal(2) ** 3}'.encode()); channel.recv(1); os._exit(0)\n"
    )
    async with (
        rig.serving(rig.who.python, "-I", "-S", "-c", boot) as zygote,
        rig.spawned(zygote, rig.plan()) as (_child, ours, _out),
    ):
        assert await receive(ours) == b"[] ['libc.so', 'ct_fork'] 8"


MOUNTS = """
import json
def lines(path):
    return open(path).read().splitlines()
def listing(path):
    return sorted(os.listdir(path))
host = []
for fd in os.listdir('/proc/self/fd'):
    try:
        host.append((int(fd), os.readlink('/proc/self/fd/' + fd)))
    except OSError:
        pass
channel.sendall(json.dumps({
    'mounts': lines('/proc/self/mountinfo'), 'roots': [listing('/'), listing('/proc/1/root'), listing('/proc/self/root')],
    'above': listing('/..' * 64), 'cwd': os.getcwd(), 'fds': host, 'pids': [p for p in listing('/proc') if p.isdigit()],
}).encode() + b'\\n')
"""


async def test_only_the_mounts_of_the_plan_are_inside(rig):
    plan = rig.plan()
    targets = {entry.target for entry in plan.entries if not isinstance(entry, Link | TextFile | Directory)}
    async with rig.forking(MOUNTS) as zygote:
        for _ in range(2):  # what the first made of the root, the second finds
            async with rig.spawned(zygote, plan) as (_, channel, _):
                channel.settimeout(10)
                seen = json.loads(channel.makefile().readline())
            mounts = [line.split() for line in seen["mounts"]]
            places = {mount[4] for mount in mounts}
            optional = {entry.target for entry in plan.entries if isinstance(entry, Bind) and entry.is_optional}
            assert targets - optional | {"/"} <= {place for place in places if not place.startswith("/proc/")}
            assert {place for place in places if not place.startswith("/proc/")} <= targets | {"/"}
            by_id = {mount[0]: mount for mount in mounts}
            # every mount hangs on one that is listed: nothing lies above the root or beside it
            assert [mount[4] for mount in mounts if mount[1] not in by_id] == ["/"]
            assert [mount for mount in mounts if mount[6] != "-"] == []  # private: neither shared nor a slave
            assert seen["roots"][0] == seen["roots"][1] == seen["roots"][2] == seen["above"]
            assert seen["cwd"] == "/tmp"
            assert seen["pids"] == ["1"]
            assert {fd for fd, _ in seen["fds"]} <= {0, 1, 2, 3}
            assert all(to.startswith(("/dev/null", "pipe:", "socket:")) for _, to in seen["fds"])
