"""What a function must not reach, tried from inside one."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceDied, InstanceSpec
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend
from tests.security.attempts.calls import SYSCALLS

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

TEMPLATE_MEMORY_BYTES = 512 << 20

# Evaluates what the test sends: every attempt below is an expression in the function's own interpreter.
EVALUATE = """
import ctypes, errno, os, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def syscall(number, *arguments):
    result = libc.syscall(number, *arguments)
    return 'allowed' if result >= 0 else errno.errorcode[ctypes.get_errno()]

def attempt(act):
    try:
        return ['allowed', repr(act())[:500]]
    except Exception as error:
        return [type(error).__name__, str(error)]

def page():
    return int(next(line for line in open('/proc/self/maps') if 'memfd:page' in line).split('-')[0], 16)

def handler(event, context):
    return eval(event)
"""


@pytest.fixture(scope="module", params=["made", "template"])
async def backend(request, anyio_backend, tmp_path_factory) -> AsyncIterator[NamespaceBackend]:
    data_dir = tmp_path_factory.mktemp("platform")
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    async with running_backend(settings) as made:
        if not made.support().available:
            pytest.skip(made.support().reason)
        if request.param == "template":
            await made.keep_templates({"python", "node"}, memory_bytes=TEMPLATE_MEMORY_BYTES)
        yield made


class Inside:
    """A function that evaluates."""

    def __init__(self, instance) -> None:
        self.instance = instance

    async def __call__(self, expression: str):
        outcome = await self.instance.invoke(
            Call(request_id=uuid7(), payload=json.dumps(expression).encode(), timeout_s=20)
        )
        assert outcome.error is None, outcome.error
        return json.loads(outcome.output)


async def _start(backend, code_dir: Path, tenant: str, source: str = EVALUATE, runtime: str = "python"):
    code_dir.mkdir()
    code_dir.chmod(0o755)
    (code_dir / ("main.py" if runtime == "python" else "main.js")).write_text(source)
    await backend.templates_ready()
    instance = await backend.create(
        InstanceSpec(
            tenant=tenant, namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
            runtime=runtime, handler="main.handler", code_dir=code_dir,
        ),
        timeout_s=30,
    )  # fmt: skip
    await instance.init(timeout_s=20)
    return instance


@pytest.fixture
async def inside(backend, tmp_path) -> AsyncIterator[Inside]:
    instance = await _start(backend, tmp_path / "mine", "acme")
    yield Inside(instance)
    await instance.destroy()


@pytest.fixture
async def other(backend, tmp_path) -> AsyncIterator[Inside]:
    instance = await _start(backend, tmp_path / "others", "umbrella")
    yield Inside(instance)
    await instance.destroy()


async def test_the_hosts_files_are_not_there(inside, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    for path in (
        str(secret), "/etc/shadow", "/etc/ssh", "/var/lib", "/home", "/sys", "/boot", "/proc/1/root/../etc/shadow",
        str(Path(__file__)), "/.dockerenv", "/run/docker.sock", "/dev/kvm", "/dev/mem", "/dev/sda",
    ):  # fmt: skip
        assert await inside(f"os.path.exists({path!r})") is False, path
    top = set(await inside("os.listdir('/')"))
    system = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "dev", "proc", "tmp"}
    interpreter = {Path(os.path.realpath(os.__file__)).parts[1]}
    assert top - system - {"code", "run", "opt"} <= interpreter
    assert await inside("os.listdir('/opt')") == []  # a place for layers, and none of the host's


async def test_nothing_but_tmp_can_be_written(inside):
    for path in ("/x", "/etc/x", "/usr/x", "/code/x", "/code/main.py", "/dev/x", "/run/x", "/proc/x"):
        assert (await inside(f"attempt(lambda: open({path!r}, 'w'))"))[0] in (
            "OSError",
            "PermissionError",
            "FileNotFoundError",
        ), path
    assert (await inside("attempt(lambda: open('/tmp/x', 'w').write('y'))"))[0] == "allowed"


async def test_the_platforms_environment_is_not_there(inside):
    assert set(await inside("list(os.environ)")) == {"PATH", "LANG", "HOME"}
    for path in ("/proc/self/environ", "/proc/1/environ"):
        text = await inside(f"attempt(lambda: open({path!r}, 'rb').read())")
        for name in ("VIRTUAL_ENV", "NOVA_", "SSH_", "PYTEST", "USER="):
            assert name not in text[1], (path, name)


async def test_only_its_own_processes_are_there(inside):
    pids = await inside("[int(p) for p in os.listdir('/proc') if p.isdigit()]")
    assert pids == [1]
    assert (await inside("attempt(lambda: os.kill(2, 0))"))[0] == "ProcessLookupError"
    assert await inside("os.getppid()") == 0


async def test_the_only_network_is_its_own_loopback(inside):
    with socket.create_server(("127.0.0.1", 0)) as host:
        port = host.getsockname()[1]
        for address in (("127.0.0.1", port), ("169.254.169.254", 80), ("1.1.1.1", 443), ("10.0.0.1", 80)):
            verdict = await inside(f"attempt(lambda: socket.create_connection({address!r}, timeout=2))")
            assert verdict[0] in ("OSError", "ConnectionRefusedError"), (address, verdict)
    devices = (await inside("open('/proc/self/net/dev').read()")).splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert (await inside("attempt(lambda: socket.create_server(('127.0.0.1', 8080)).close())"))[0] == "allowed"
    assert (await inside("attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))"))[0] != "allowed"
    assert (await inside("attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))"))[0] != "allowed"
    assert (await inside("attempt(lambda: socket.getaddrinfo('example.com', 80))"))[0] == "gaierror"


async def test_abstract_sockets_of_the_host_are_out_of_reach(inside):
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(f"\0constellation-test-{os.getpid()}")
        host.listen()
        name = host.getsockname()
        verdict = await inside(f"attempt(lambda: socket.socket(socket.AF_UNIX).connect({name!r}))")
        assert verdict[0] == "ConnectionRefusedError"


async def test_no_descriptor_is_inherited_but_its_own(inside):
    kinds = await inside(
        "{n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}') or n in '01234'}"
    )
    assert set(kinds) <= {"0", "1", "2", "3", "4", "5"}  # 5 is the listing itself
    assert kinds["0"].endswith("/null")
    assert kinds["1"].startswith("pipe:")
    assert kinds["3"].startswith("socket:")
    assert kinds["4"] == "anon_inode:[eventfd]"


@pytest.mark.parametrize(
    "act",
    [
        "ctypes.memset(page(), 255, 4096) and os.write(4, b'\\1' + bytes(7)) and time.sleep(60)",
        "any(os.write(4, b'\\1' + bytes(7)) == 0 for _ in iter(int, 1))",
        "libc.munmap(ctypes.c_void_p(page()), 4096)",
    ],
    ids=["overwritten", "rung", "unmapped"],
)
async def test_what_it_does_to_the_page_of_its_channel_costs_itself_alone(inside, other, act):
    with pytest.raises(InstanceDied):
        await inside(act)
    assert await other("1 + 1") == 2


async def test_a_bell_that_nobody_can_ring_any_more_holds_itself_alone(inside, other):
    with anyio.move_on_after(1):
        await inside("os.set_blocking(4, True) or os.write(4, (2**64 - 2).to_bytes(8, sys.byteorder))")
    for number in range(3):
        assert await other(f"{number} + 1") == number + 1


async def test_it_can_not_take_the_page_of_its_channel_away(inside):
    assert await inside("[libc.madvise(ctypes.c_void_p(page()), 4096, 9), ctypes.get_errno()]") == [-1, errno.EPERM]
    assert (
        await inside(
            "[each for each in os.listdir('/proc/self/fd') if 'memfd' in os.path.realpath('/proc/self/fd/' + each)]"
        )
        == []
    )


async def test_it_has_no_power(inside):
    status = dict(line.split(":\t", 1) for line in (await inside("open('/proc/self/status').read()")).splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "0" not in status["Uid"].split()
    for act in (
        "os.setuid(0)",
        "os.setgid(0)",
        "os.chroot('/tmp')",
        "os.mknod('/tmp/null', 0o20666, 259)",
        "os.nice(-5)",
    ):
        assert (await inside(f"attempt(lambda: {act})"))[0] in ("PermissionError", "OSError"), act


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are of x86-64")
@pytest.mark.parametrize("name", SYSCALLS)
async def test_a_dangerous_system_call_is_refused(inside, name):
    number, *arguments = SYSCALLS[name]
    try:
        verdict = await inside(f"syscall({number}, *{arguments!r})")
    except InstanceDied as died:
        verdict = died.cause
    assert verdict in ("EPERM", "ENOSYS", f"signal {int(signal.SIGSYS)}"), name


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are of x86-64")
async def test_no_namespace_can_be_made_by_clone(inside):
    for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x02000000, 0x04000000, 0x08000000):
        assert await inside(f"syscall(56, {flag | 17}, 0, 0, 0, 0)") in ("EPERM", "ENOSYS"), hex(flag)
    assert await inside("syscall(435, 0, 0)") in ("EPERM", "ENOSYS")  # clone3, whose flags no filter can see


async def test_proc_gives_no_way_out(inside):
    for path in (
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/1/oom_score_adj/../mem/x",
    ):
        assert (await inside(f"attempt(lambda: open({path!r}, 'w').write('x'))"))[0] != "allowed", path
    for path in ("/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list"):
        verdict = await inside(f"attempt(lambda: open({path!r}, 'rb').read(1 << 16).strip(b'\\0'))")
        text = verdict[1]
        assert verdict[0] != "allowed" or text == "b''" or "0000000000000000" in text, (path, verdict)
    for name in ("/proc/self/root", "/proc/self/cwd", "/proc/1/root"):
        assert await inside(f"os.path.exists({name!r} + '/home')") is False


async def test_tenants_do_not_meet(inside, other):
    await inside("open('/tmp/mine', 'w').write('x')")
    assert await other("os.listdir('/tmp')") == []
    await inside(
        "globals().__setitem__('server', socket.socket(socket.AF_UNIX)) or server.bind('\\0meet') or server.listen()"
    )
    verdict = await other("attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0meet'))")
    assert verdict[0] == "ConnectionRefusedError"
    await inside("globals().__setitem__('tcp', socket.create_server(('127.0.0.1', 8080))) or 1")
    assert (await other("attempt(lambda: socket.create_connection(('127.0.0.1', 8080), timeout=2))"))[
        0
    ] == "ConnectionRefusedError"
    assert (await other("[int(p) for p in os.listdir('/proc') if p.isdigit()]")) == [1]
    assert "others" not in json.dumps(await inside("open('/proc/self/mountinfo').read()"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each instance a uid of its own")
async def test_each_instance_has_a_host_uid_of_its_own(inside, other):
    def uid(instance):
        return Path(f"/proc/{instance.pid}").stat().st_uid

    assert uid(inside.instance) != uid(other.instance)
    assert min(uid(inside.instance), uid(other.instance)) >= 1_000_000


async def test_system_v_ipc_and_shared_memory_are_its_own(inside, other):
    await inside("open('/dev/shm/mine', 'w').write('x')")
    assert await other("os.listdir('/dev/shm')") == []
    key = 0x5EED
    made = await inside(f"libc.shmget({key}, 4096, 0o1666)")
    if made >= 0:
        assert await other(f"libc.shmget({key}, 4096, 0)") == -1


async def test_node_is_held_as_tightly(backend, tmp_path):
    source = """
    const fs = require('node:fs'), net = require('node:net');
    exports.handler = async () => ({
      env: Object.keys(process.env).sort(), pids: fs.readdirSync('/proc').filter((p) => /^[0-9]+$/.test(p)).length,
      nets: fs.readFileSync('/proc/self/net/dev', 'utf8').split('\\n').slice(2, -1).map((l) => l.split(':')[0].trim()), status: fs.readFileSync('/proc/self/status', 'utf8'),
      fds: fs.readdirSync('/proc/1/fd').sort(),
      out: await new Promise((done) => net.connect(80, '1.1.1.1').on('error', (e) => done(e.code)).on('connect', () => done('connected'))),
    });
    """
    instance = await _start(backend, tmp_path / "node", "acme", source, runtime="node")
    try:
        seen = await Inside(instance)("")
    finally:
        await instance.destroy()
    assert seen["env"] == ["HOME", "LANG", "NODE_PATH", "PATH"]
    assert seen["pids"] == 2  # ct-guest and node
    assert seen["nets"] == ["lo"]
    assert seen["out"] in ("ENETUNREACH", "EACCES", "EPERM")
    assert "Seccomp:\t2" in seen["status"]
    assert "CapEff:\t0000000000000000" in seen["status"]
    assert set(seen["fds"]) <= {"0", "1", "2"}
