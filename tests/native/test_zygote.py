"""ct-zygote: what a program finds inside, and what its owner hears of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.native import libexec_path
from constellation.native.sandbox import Bind, Limits, Link, Terminals, TextFile
from constellation.native.zygote import ExitStatus, SpawnFailed, Zygote, ZygoteGone

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]


async def test_program_runs_as_an_unprivileged_uid_without_capabilities(rig):
    async with rig.executing() as zygote:
        done = await rig.shell(zygote, "id -u; id -g; cat /proc/self/status; echo pid $$")
    lines = done.out.splitlines()
    assert lines[:2] == ["1000", "1000"]
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert "pid 1" in lines
    assert done.status == ExitStatus(code=0, signal=0)


async def test_host_sees_the_plan_uid(root_rig):
    async with (
        root_rig.executing() as zygote,
        root_rig.spawned(zygote, root_rig.plan("/bin/sleep", "60")) as (child, _, _out),
    ):
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        uids = next(line.split()[1:] for line in lines if line.startswith("Uid:"))
        assert uids == [str(root_rig.who.uid)] * 4


async def test_only_loopback_exists_and_it_is_up(rig):
    script = (
        "import socket; print(open('/proc/net/dev').read())\n"
        "s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); print('connected')\n"
        "try: socket.create_connection(('192.0.2.1', 80), timeout=5)\n"
        "except OSError as e: print('away', e.errno)\n"
    )
    async with rig.executing() as zygote:
        done = await rig.python(zygote, script)
    interfaces = [line.split(":")[0].strip() for line in done.out.splitlines() if ":" in line]
    assert interfaces == ["lo"]
    assert "connected" in done.out
    assert f"away {101}" in done.out  # ENETUNREACH


async def test_only_the_given_descriptors_are_open(rig):
    script = (
        "import os\n"
        "for name in sorted(os.listdir('/proc/self/fd'), key=int):\n"
        "    try: print(name, os.readlink('/proc/self/fd/' + name))\n"
        "    except FileNotFoundError: print(name, 'listing')\n"
    )
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        async with rig.executing() as zygote:
            done = await rig.python(zygote, script)
    finally:
        os.close(leak)
    rows = [line.split(" ", 1) for line in done.out.splitlines()]
    assert [row[0] for row in rows[:4]] == ["0", "1", "2", "3"]
    assert rows[0][1] == "/dev/null"
    assert rows[1][1].startswith("pipe:")
    assert rows[1][1] == rows[2][1]
    assert rows[3][1].startswith("socket:")
    assert rows[4:] == [["4", "listing"]]


async def test_root_is_read_only_and_tmp_is_capped(rig):
    script = (
        "for f in /x /usr/x /etc/x /dev/x /proc/x; do touch $f 2>/dev/null && echo wrote $f; done; "
        "touch /tmp/ok /dev/shm/ok && echo scratch; "
        "dd if=/dev/zero of=/tmp/big bs=1M count=64 2>&1 | grep -o 'No space left'; ls -l /tmp/big | wc -l"
    )
    async with rig.executing() as zygote:
        done = await rig.shell(zygote, script)
    assert "wrote" not in done.out
    assert "scratch" in done.out
    assert "No space left" in done.out


async def test_host_files_are_not_there(rig, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    script = (
        f"cat {secret} /etc/shadow /etc/hostname /proc/1/root{secret} 2>/dev/null; ls -A / /home /var /sys /srv 2>/dev/null;"
        " ls /proc | grep -c '^[0-9]'; wc -c < /proc/kallsyms; wc -c < /proc/interrupts"
    )
    async with rig.executing() as zygote:
        done = await rig.shell(zygote, script)
    assert "s3cret" not in done.out
    listing = done.out.split()
    for absent in ("home", "var", "sys", "srv", "boot", "mnt"):
        assert absent not in listing
    assert int(done.out.splitlines()[-3]) <= 4  # the shell and its pipe
    assert done.out.splitlines()[-2:] == ["0", "0"]


async def test_environment_is_the_plans_alone(rig):
    async with rig.executing() as zygote:
        done = await rig.shell(zygote, "/usr/bin/env -u PWD -u SHLVL -u _ | sort", env={"GREETING": "hello = world"})
    assert done.out.splitlines() == ["GREETING=hello = world", "HOME=/tmp", "PATH=/usr/bin:/bin"]


async def test_code_directory_is_readable_and_not_writable(rig):
    with tempfile.TemporaryDirectory(prefix="ct-code-") as name:
        code = Path(name)
        code.chmod(0o755)
        (code / "main.py").write_text("print('from code')")
        plan = rig.plan(rig.who.python, "-I", "-S", "/code/main.py", workdir="/code")
        plan = replace(plan, entries=(*plan.entries, Bind(source=name, target="/code")))
        async with rig.executing() as zygote:
            done = await rig.finish(zygote, plan)
            refused = await rig.finish(
                zygote, replace(plan, argv=("/bin/sh", "-c", "pwd; touch /code/x || ls -a /code/.. | grep -c ct-code"))
            )
    assert done.out == "from code\n"
    assert refused.out.splitlines()[0] == "/code"
    assert refused.out.splitlines()[-1] == "0"


async def test_exit_is_told(rig):
    async with rig.executing() as zygote:
        assert (await rig.shell(zygote, "exit 3")).status == ExitStatus(code=3, signal=0)
        # the init of a pid namespace does not die by a signal from inside
        assert (await rig.shell(zygote, "kill -9 $$; exit 4")).status == ExitStatus(code=4, signal=0)


async def test_killing_pid_1_ends_the_whole_tree(rig):
    script = "for i in 1 2 3; do (setsid sh -c 'echo up; exec sleep 300' &) ; done; exec sleep 300"
    async with rig.executing() as zygote, rig.spawned(zygote, rig.plan("/bin/sh", "-c", script)) as (child, _, output):
        seen = ""
        with anyio.fail_after(10):
            while seen.count("up") < 3:
                await anyio.wait_readable(output)
                seen += os.read(output, 100).decode()
        child.kill_nowait()
        with anyio.fail_after(10):
            assert await child.wait() == ExitStatus(code=0, signal=signal.SIGKILL)
        assert await read_to_end(output) == b""  # every holder of the pipe is dead


async def read_to_end(fd):
    with anyio.fail_after(10):
        while True:
            await anyio.wait_readable(fd)
            piece = os.read(fd, 65536)
            if not piece:
                return piece


async def test_stopping_the_server_ends_its_children(rig):
    async with rig.executing() as zygote, rig.spawned(zygote, rig.plan("/bin/sleep", "300")) as (child, ours, output):
        zygote.stop_nowait()
        with anyio.fail_after(10):
            assert await child.wait() == ExitStatus(code=0, signal=signal.SIGKILL)
            assert await read_to_end(output) == b""
        with pytest.raises(ZygoteGone):
            await zygote.spawn(rig.plan("/bin/true"), channel_fd=ours.fileno(), stdio_fd=output, timeout_s=5)


async def test_a_killed_server_takes_its_children_along(rig):
    async with rig.executing() as zygote, rig.spawned(zygote, rig.plan("/bin/sleep", "300")) as (child, _, output):
        os.kill(zygote.pid, signal.SIGKILL)
        with anyio.fail_after(10):
            assert await read_to_end(output) == b""
            await zygote.gone.wait()
        assert child.status == ExitStatus(code=0, signal=signal.SIGKILL)


async def test_guest_init_reaps_and_passes_the_status_on(rig):
    guest = libexec_path("ct-guest")
    if rig.who.prefix and subprocess.run([*rig.who.prefix, "test", "-r", guest]).returncode:
        pytest.skip(f"an ordinary user can not read root's checkout: {guest}")
    # the orphan ends while nobody but pid 1 could reap it; a zombie would still have its directory
    script = "(sh -c 'echo orphan $$; exit 5' &) ; sleep 0.3; ls /proc | grep '^[0-9]'; echo me $$; exit 9"
    plan = rig.plan("/bin/sh", "-c", script, has_guest_init=True)
    async with rig.executing() as zygote:
        done = await rig.finish(zygote, plan)
        killed = await rig.finish(zygote, rig.plan("/bin/sh", "-c", "kill -SEGV $$", has_guest_init=True))
    lines = done.out.splitlines()
    assert "me 1" not in lines
    orphan = next(line.split()[1] for line in lines if line.startswith("orphan"))
    assert orphan not in lines
    assert done.status == ExitStatus(code=9, signal=0)
    assert killed.status == ExitStatus(code=128 + signal.SIGSEGV, signal=0)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"argv": ("/usr/bin/no-such-program",)}, "exec"),
        ({"workdir": "/no-such-dir"}, "root"),
        ({"task_files": ("/no/such/tasks",)}, "cgroup"),
        ({"cgroup_dir": "/no/such/group"}, "cgroup"),
        ({"argv": ()}, "request"),
    ],
)
async def test_a_failed_step_is_named(rig, change, step):
    async with rig.executing() as zygote:
        with pytest.raises(SpawnFailed) as failed:
            await rig.finish(zygote, rig.plan("/bin/true", **change))
        assert failed.value.step == step
        assert (await rig.shell(zygote, "echo next")).out == "next\n"  # the server goes on


async def test_a_missing_source_is_named_and_an_optional_one_is_left_out(rig):
    plan = rig.plan("/bin/sh", "-c", "ls /opt 2>&1")
    async with rig.executing() as zygote:
        with pytest.raises(SpawnFailed) as failed:
            await rig.finish(zygote, replace(plan, entries=(*plan.entries, Bind(source="/no/dir", target="/opt/x"))))
        assert (failed.value.step, failed.value.path) == ("source", "/no/dir")
        optional = Bind(source="/no/dir", target="/opt/x", is_optional=True)
        done = await rig.finish(zygote, replace(plan, entries=(*plan.entries, optional)))
    assert "x" not in done.out.split()


async def test_process_limit_holds(rig):
    script = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    while made < 500:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        made += 1\n"
        "except BlockingIOError: pass\n"
        "print(made)\n"
    )
    async with rig.executing() as zygote:
        done = await rig.python(zygote, script, limits=Limits(processes=20))
    assert done.out.strip() == "19"


async def test_file_and_address_space_limits_hold(rig):
    script = (
        "import mmap, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: open('/tmp/f', 'wb').write(bytes(2 << 20))\n"
        "except OSError as e: print('file', e.errno)\n"
        "try: mmap.mmap(-1, 1 << 30)\n"
        "except OSError as e: print('memory', e.errno)\n"
    )
    limits = Limits(file_bytes=1 << 20, address_space_bytes=256 << 20)
    async with rig.executing() as zygote:
        done = await rig.python(zygote, script, limits=limits)
    assert done.out.splitlines() == ["file 27", "memory 12"]  # EFBIG, ENOMEM


async def test_many_at_once(rig):
    async with rig.executing() as zygote:
        outs: list[str] = []

        async def one(n: int) -> None:
            outs.append((await rig.shell(zygote, f"echo {n}")).out.strip())

        async with anyio.create_task_group() as tasks:
            for n in range(40):
                tasks.start_soon(one, n)
    assert sorted(outs, key=int) == [str(n) for n in range(40)]


async def test_a_cancelled_spawn_leaves_no_child(root_rig):
    read_end, write_end = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with root_rig.executing() as zygote:
            for _ in range(20):
                with anyio.move_on_after(0.0005):
                    child = await zygote.spawn(
                        root_rig.plan("/bin/sleep", "300"),
                        channel_fd=theirs.fileno(),
                        stdio_fd=write_end,
                        timeout_s=5,
                    )
                    try:  # it may come up in time, and the cancellation hit us here
                        child.kill_nowait()
                        await child.wait()
                    finally:
                        child.close()
            os.close(write_end)
            theirs.close()
            await read_to_end(read_end)  # only once no child holds the other end
    os.close(read_end)


async def test_setup_deadline_kills(root_rig, tmp_path):
    fifo = tmp_path / "tasks"
    os.mkfifo(fifo)
    nobody = tmp_path / "nobody"
    os.mkfifo(nobody)
    full = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with suppress(BlockingIOError):
            while True:
                os.write(full, bytes(4096))
        async with root_rig.executing() as zygote:
            with pytest.raises(SpawnFailed, match="deadline"):  # the child waits until there is room
                await root_rig.shell(zygote, "true", task_files=(str(fifo),), setup_s=0.2)
            with pytest.raises(SpawnFailed, match="cgroup"):  # the server never waits, here for one who reads
                await root_rig.shell(zygote, "true", task_files=(str(nobody),))
            assert (await root_rig.shell(zygote, "echo next")).out == "next\n"
    finally:
        os.close(full)


async def test_rubbish_on_the_control_socket_is_refused(libexec):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            server = await anyio.open_process(
                [str(libexec / "ct-zygote"), str(theirs.fileno())], pass_fds=[theirs.fileno()], stderr=None
            )
        async with server:
            ours.settimeout(10)
            assert ours.recv(4096)[:4] == b"\x03\0\0\0"  # ready
            for rubbish in (b"x", b"\0" * 8, b"\1\0\0\0CTPL" + b"\xff" * 200, os.urandom(60_000)):
                ours.send(rubbish)
                assert int.from_bytes(ours.recv(4096)[12:16], "little", signed=True) < 0
            ours.shutdown(socket.SHUT_RDWR)
            assert await server.wait() == 0


async def test_a_server_that_can_not_start_says_so():
    zygote = Zygote(["/bin/false"], name="false")
    with pytest.raises(ZygoteGone):
        await zygote.run()


async def test_hostname_and_own_files(rig):
    plan = rig.plan("/bin/sh", "-c", "hostname; cat /etc/motd", hostname="box-7")
    plan = replace(plan, entries=(*plan.entries, TextFile(target="/etc/motd", text="hello\n")))
    async with rig.executing() as zygote:
        assert (await rig.finish(zygote, plan)).out == "box-7\nhello\n"


async def test_terminals_are_the_sandbox_s_own_and_nobody_else_s_are_there(rig):
    program = (
        "import os; ours, theirs = os.openpty(); os.write(ours, b'typed\\n');"
        "print(os.ttyname(theirs), os.read(theirs, 9), sorted(os.listdir('/dev/pts')))"
    )
    plan = rig.plan(rig.who.python, "-I", "-S", "-c", program)
    plan = replace(plan, entries=(*plan.entries, Terminals(), Link(to="pts/ptmx", target="/dev/ptmx")))
    async with rig.executing() as zygote:
        for _ in range(2):  # the second of a root that is kept
            assert (await rig.finish(zygote, plan)).out == "/dev/pts/0 b'typed\\n' ['0', 'ptmx']\n"
