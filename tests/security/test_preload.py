"""A preloaded package is its tenant's code: what it tries while it is imported, in the nursery that instances are
forked from, is refused as in an instance; and what fails there costs nobody but its function."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceDied, InstanceSpec, SandboxStartFailed
from constellation.comet.namespace import nurseries, nursery
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend
from tests.security.attempts.control import source_of
from tests.security.attempts.files import files
from tests.security.attempts.host import SECRET_NAME, Host, processes_of
from tests.security.attempts.kernel import kernel
from tests.security.attempts.network import network
from tests.security.attempts.processes import processes
from tests.security.attempts.table import Attempt

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

MEMORY_BYTES = 512 << 20
LEAST = 80  # of the attempts of test_escapes
KINDS = ("pid", "mnt", "net", "ipc", "uts", "cgroup")
UID_BASE = 1_700_000_000 + os.getpid() % 1_000 * 65_536
# These are no way out here: it may keep two capabilities of its own user namespace, which the filter leaves one use;
# the process that imports is not the first, so there is one besides to be signalled. What it says on its channel, and
# what a program has that it executes (which is what it has itself until a moment after the start), are tried below.
OTHERWISE = {
    "capabilities", "signal_to_all", "descriptors_for_the_platform", "endless_frame", "program_with_capabilities",
}  # fmt: skip
# What ends with the whole call, or is judged by what the platform makes of its answer, has no answer at import
ATTEMPTS = [
    each
    for family in (kernel, network, files, processes)
    for each in family.attempts
    if each.machine in ("", platform.machine()) and each.judge is None and "timeout" not in each.refusals
    if each.name not in OTHERWISE
]

# Each attempt in a process of its own, as root of nothing: it may end it, and must not change the next one's chances.
HOSTILE = """
import errno, os, re, signal, sys, time

def _try(source, act, at):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        os.close(3)  # what is said there is believed of nobody but this function; here it would end the test
        try:
            space = {"__name__": "attempt"}
            exec(source, space)
            space[act](at)
            word = "got"
        except OSError as error:
            word = errno.errorcode.get(error.errno, str(error.errno))
        except BaseException as error:
            number = re.search(r"\\\\[Errno (\\\\d+)\\\\]", str(error))
            word = errno.errorcode[int(number[1])] if number else type(error).__name__
        os.write(theirs, word.encode())
        os._exit(0)
    os.close(theirs)
    status = os.waitpid(pid, 0)[1]
    word = os.read(ours, 64).decode()
    os.close(ours)
    code = os.waitstatus_to_exitcode(status)
    return word or (f"signal {-code}" if code < 0 else f"exit status {code}")

def attempt_all(attempts, at):
    os.mkdir("/tmp/scratch")
    return {name: _try(source, act, at) for name, source, act in attempts}

def powers_of(program):
    pid = os.posix_spawn(program, [program, "30"], {})
    while open(f"/proc/{pid}/comm").read() != os.path.basename(program) + "\\n":
        time.sleep(0.01)
    time.sleep(0.1)
    facts = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return {name: int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")}
"""
ASK = """
import os, sys

def handler(event, context):
    space = {"hostile": sys.modules.get("hostile"), "os": os, "sys": sys}
    exec(event["source"], space)
    return space["answer"]()
"""


@pytest.fixture(scope="module")
async def backend(anyio_backend, tmp_path_factory) -> AsyncIterator[NamespaceBackend]:
    data_dir = tmp_path_factory.mktemp("platform")
    os.environ[SECRET_NAME] = "of the platform"
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir), uid_base=UID_BASE)
    async with running_backend(settings) as made:
        if not made.support().available:
            pytest.skip(made.support().reason)
        if os.geteuid() != 0 or not all(
            made.support().limits[name].startswith("cgroup") for name in ("memory", "pids")
        ):
            pytest.skip("instances are forked from nurseries where root has memory and pids control groups")
        await made.keep_templates({"python"}, memory_bytes=MEMORY_BYTES)
        yield made
    del os.environ[SECRET_NAME]


def _spec(code: Path, source: str, tenant: str = "acme", **fields) -> InstanceSpec:
    code.mkdir(exist_ok=True)
    code.chmod(0o755)
    (code / "main.py").write_text(ASK)
    (code / "hostile").mkdir(exist_ok=True)
    (code / "hostile" / "__init__.py").write_text(source)
    return InstanceSpec(
        tenant=tenant, namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
        runtime="python", handler="main.handler", code_dir=code, preload=("hostile",), **fields,
    )  # fmt: skip


async def _started(backend: NamespaceBackend, spec: InstanceSpec):
    instance = await backend.create(spec, timeout_s=30)
    await instance.init(timeout_s=30)
    return instance


async def _nursed(backend: NamespaceBackend, spec: InstanceSpec):
    """Have a nursery made for the function, and an instance forked from it."""
    await (await backend.create(spec, timeout_s=30)).destroy()
    with anyio.fail_after(120):
        await backend.templates_ready()
    return await _started(backend, spec)


async def _ask(instance, body: str):
    source = "def answer():\n" + "\n".join(f"    {line}" for line in body.splitlines())
    payload = json.dumps({"source": source}).encode()
    outcome = await instance.invoke(Call(request_id=uuid7(), payload=payload, timeout_s=20))
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


def _status(instance) -> dict[str, str]:
    lines = Path(f"/proc/{instance.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _is_nursed(instance) -> bool:
    """Whether it is in a pid namespace below another sandbox's."""
    return len(_status(instance)["NSpid"].split()) == 3


async def test_nothing_is_to_be_had_while_a_package_is_imported(backend, tmp_path):
    host = Host(tmp_path, backend._settings.run_dir)
    try:
        host.lay_traps(ASK)
        plan = [(each.name, source_of(each), each.act.__name__) for each in ATTEMPTS]
        at = {**host.seen_from_inside(), "scratch": "/tmp/scratch"}
        source = f"{HOSTILE}\nRESULTS = attempt_all({plan!r}, {at!r})\nPOWERS = powers_of('/code/has-power')\n"
        instance = await _nursed(backend, _spec(host.code, source))
        try:
            assert _is_nursed(instance)
            results = await _ask(instance, "return hostile.RESULTS")
            assert await _ask(instance, "return hostile.POWERS") == {"CapPrm": 0, "CapEff": 0, "CapAmb": 0}
        finally:
            await instance.destroy()
        wanted: dict[str, Attempt] = {each.name: each for each in ATTEMPTS}
        assert set(results) == set(wanted)
        assert {name: word for name, word in results.items() if word not in wanted[name].refusals} == {}
        host.unharmed()
        assert len(wanted) >= LEAST
    finally:
        host.close()


async def test_a_nursery_has_no_more_than_it_needs(backend, tmp_path):
    source = """
        import ctypes, os
        facts = dict(line.split(":", 1) for line in open("/proc/self/status"))
        CAPS = {name: int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
        FDS = sorted(map(int, os.listdir("/proc/self/fd")))
        ENV = sorted(os.environ)
        libc = ctypes.CDLL(None, use_errno=True)
        NEW = {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000, "pid": 0x20000000, "ipc": 0x8000000, "uts": 0x4000000}
        def cloned(flags):
            pid = libc.syscall(56 if os.uname().machine == "x86_64" else 220, flags | 17, 0, 0, 0, 0)
            if pid == 0:
                os._exit(0)
            if pid > 0:
                os.waitpid(pid, 0)
            return "got" if pid > 0 else os.strerror(ctypes.get_errno())
        CLONED = {name: cloned(flag) for name, flag in NEW.items()}
        EVERY = cloned(sum(NEW.values()))
        BUT_USER = cloned(sum(NEW.values()) - NEW["user"])
        UNSHARED = {name: libc.unshare(flag) for name, flag in NEW.items()}
        MOUNTED = libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None)
    """
    instance = await _nursed(backend, _spec(tmp_path / "code", inspect.cleandoc(source)))
    try:
        assert _is_nursed(instance)
        seen = await _ask(instance, "return {n: v for n, v in vars(hostile).items() if n.isupper()}")
    finally:
        await instance.destroy()
    admin_and_setpcap = 1 << 21 | 1 << 8
    assert seen["CAPS"] == {
        "CapPrm": admin_and_setpcap,
        "CapEff": admin_and_setpcap,
        "CapBnd": admin_and_setpcap,
        "CapAmb": 0,
    }
    assert set(seen["CLONED"].values()) == {"Operation not permitted"}
    assert (seen["EVERY"], seen["BUT_USER"]) == ("Operation not permitted", "got")
    assert set(seen["UNSHARED"].values()) == {-1}
    assert seen["MOUNTED"] == -1
    assert len(seen["FDS"]) <= 5, "null, output, errors, channel, and the listing itself"
    assert not {name for name in seen["ENV"] if name.startswith("CONSTELLATION")}


async def test_what_is_forked_is_held_like_any_instance(backend, tmp_path):
    """One by one as tight as a start from a template, and out of each other's reach."""
    spec = _spec(tmp_path / "code", "")
    one = await _nursed(backend, spec)
    other = await _started(backend, spec)
    try:
        assert _is_nursed(one)
        assert _is_nursed(other)
        for each in (one, other):
            status = _status(each)
            assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            assert await _ask(each, "return [p for p in os.listdir('/proc') if p.isdigit()]") == ["1"]
            assert await _ask(each, "return sorted(os.listdir('/proc/self/fd'), key=int)[:-1]") == list("01234")
            assert await _ask(each, "return open('/proc/interrupts').read() + open('/proc/kallsyms').read()") == ""
            groups = await _ask(each, "return [l.rstrip().rpartition(':')[2] for l in open('/proc/self/cgroup')]")
            assert set(groups) == {"/"}
        namespaces = [{str(Path(f"/proc/{each.pid}/ns/{kind}").readlink()) for kind in KINDS} for each in (one, other)]
        assert not namespaces[0] & namespaces[1]
        await _ask(one, "open('/tmp/mine', 'w').write('x')\nopen('/dev/shm/mine', 'w').write('x')")
        assert await _ask(other, "return os.listdir('/tmp') + os.listdir('/dev/shm')") == []
        await _ask(one, "import socket\ns = socket.socket(socket.AF_UNIX); s.bind('\\0mine'); s.listen(); sys.kept = s")
        assert (
            await _ask(
                other,
                "import socket\ntry:\n    socket.socket(socket.AF_UNIX).connect('\\0mine')\n"
                "except OSError as e:\n    return type(e).__name__\nreturn 'reached'",
            )
            == "ConnectionRefusedError"
        )
        assert (
            await _ask(one, "import socket\nreturn socket.create_server(('127.0.0.1', 0)).getsockname()[0]")
            == "127.0.0.1"
        )
    finally:
        await one.destroy()
        await other.destroy()


FAILING = {
    "raises": "raise RuntimeError('not today')",
    "exits": "import os; os._exit(3)",
    "kills itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "starts threads": "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "eats memory": "import os\nif os.getpid() != 1: x = b'x' * (1 << 30)",
    "forks": "import os, time\nif os.getpid() != 1:\n    while True: os.fork()",
    "hangs": "import os, time\nif os.getpid() != 1: time.sleep(600)",
    "babbles": "import os\nif os.getpid() != 1: os.write(3, os.urandom(5000))",
    "passes descriptors": "import os, socket\nif os.getpid() != 1: "
    "socket.send_fds(socket.socket(fileno=os.dup(3)), [bytes(256)] * 50, [1] * 250)",
    "claims a stranger": "import os, socket, struct\nif os.getpid() != 1: "
    "socket.send_fds(socket.socket(fileno=os.dup(3)), [struct.pack('!B3xIii240s', 1, 0, 0, 0, b'')], [1]); "
    "__import__('time').sleep(600)",
}


@pytest.mark.parametrize("source", FAILING.values(), ids=FAILING.keys())
async def test_an_import_that_fails_costs_only_its_function(backend, tmp_path, source, monkeypatch):
    """Its instances start the ordinary way, and the fork server and everybody else go on."""
    monkeypatch.setattr(nursery, "_IMPORT_S", 2.0)
    monkeypatch.setattr(backend, "_settings", replace(backend._settings, spawn_s=3.0))
    spec = _spec(tmp_path / "code", source)
    neighbour = await _nursed(backend, _spec(tmp_path / "other", "", tenant="umbrella"))
    server = dict(backend._servers.pids)
    try:
        await (await backend.create(spec, timeout_s=30)).destroy()
        with anyio.move_on_after(20):
            await backend.templates_ready()
        instance = await _started(backend, spec)
        assert not _is_nursed(instance)
        await instance.destroy()
        assert _is_nursed(neighbour)
        assert await _ask(neighbour, "return 'alive'") == "alive"
        assert backend._servers.pids["python"] == server["python"]
    finally:
        await neighbour.destroy()


LIAR = """
import os, socket, struct
if os.getpid() != 1:
    host = socket.socket(fileno=os.dup(3))
    word = struct.Struct("!B3xIii240s")
    host.sendall(word.pack(1, 0, 0, 0, b""))
    while True:
        request, fds, _, _ = socket.recv_fds(host, 4, 12)
        ticket = struct.unpack("!I", request)[0]
        {answer}
        for fd in fds:
            os.close(fd)
"""
LIES = {
    "itself": "socket.send_fds(host, [word.pack(2, ticket, 0, 0, b'')], [os.pidfd_open(os.getpid())])",
    "its first process": "socket.send_fds(host, [word.pack(2, ticket, 0, 0, b'')], [os.pidfd_open(1)])",
    "no process": "socket.send_fds(host, [word.pack(2, ticket, 0, 0, b'')], [0])",
    "nothing": "host.sendall(word.pack(2, ticket, 0, 0, b''))",
    "what nobody asked for": "[socket.send_fds(host, [word.pack(2, ticket + i, 0, 0, b'')], [0]) for i in range(1, 99)]",
    "ends of nobody": "[host.sendall(word.pack(3, i, 0, 9, b'')) for i in range(99)] and os._exit(0)",
}


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES.keys())
async def test_a_nursery_that_lies_is_not_believed(backend, tmp_path, answer, monkeypatch):
    """Instances start the ordinary way then."""
    monkeypatch.setattr(backend, "_settings", replace(backend._settings, spawn_s=3.0))
    spec = _spec(tmp_path / "code", LIAR.format(answer=answer))
    await (await backend.create(spec, timeout_s=30)).destroy()
    with anyio.fail_after(30):
        await backend.templates_ready()
    instance = await backend.create(spec, timeout_s=30)
    try:
        assert not _is_nursed(instance)
    finally:
        await instance.destroy()
    for nursed in backend._nurseries.ready:
        if nursed.stock.function_id == spec.function_id:
            nursed.end_nowait()


SPOILER = """
import fcntl, mmap, os, socket
receive, kept = socket.recv_fds, []
def spoil(*arguments):
    got = receive(*arguments)
    page = got[1][2] if len(got[1]) > 2 else -1
    try:
        {act}
    except OSError:
        pass
    return got
socket.recv_fds = spoil
"""
SPOILT = {
    "cut": ("os.ftruncate(page, 0)", True),
    "grown": ("os.ftruncate(page, 1 << 20)", True),
    "written to": ("kept.append(mmap.mmap(page, 4096)); kept[-1].write(b'\\xff' * 4096)", None),
    "sealed": (f"fcntl.fcntl(page, {fcntl.F_ADD_SEALS}, {fcntl.F_SEAL_SEAL})", False),
    "sealed for writing": (f"fcntl.fcntl(page, {fcntl.F_ADD_SEALS}, 0x10)", False),  # F_SEAL_FUTURE_WRITE
}


@pytest.mark.parametrize(("act", "is_nursed"), SPOILT.values(), ids=SPOILT.keys())
async def test_a_nursery_can_not_spoil_the_page_of_its_child_but_for_itself(
    backend, tmp_path, act, is_nursed, monkeypatch
):
    monkeypatch.setattr(backend, "_settings", replace(backend._settings, spawn_s=3.0))
    neighbour = await _nursed(backend, _spec(tmp_path / "other", "", tenant="umbrella"))
    spec = _spec(tmp_path / "code", SPOILER.format(act=act))
    try:
        await (await backend.create(spec, timeout_s=30)).destroy()
        with anyio.move_on_after(20):
            await backend.templates_ready()
        with suppress(*(() if is_nursed is not None else (SandboxStartFailed,))):  # it may end before its hello
            instance = await backend.create(spec, timeout_s=30)
            try:
                with suppress(InstanceDied):
                    await instance.init(timeout_s=10)
                    assert await _ask(instance, "return 'alive'") == "alive"
                assert is_nursed is None or _is_nursed(instance) == is_nursed
            finally:
                await instance.destroy()
        assert await _ask(neighbour, "return 'alive'") == "alive"
    finally:
        await neighbour.destroy()


async def test_a_nursery_serves_one_version_of_one_function_of_one_tenant(backend, tmp_path):
    spec = _spec(tmp_path / "code", "import os\nWHERE = (os.stat('/code').st_ino, os.urandom(8).hex())")
    others = {
        "tenant": replace(spec, tenant="umbrella", function_id=uuid7()),
        "function": replace(spec, function_id=uuid7()),
        "memory": replace(spec, memory_mb=256),
        "modules": replace(spec, preload=("hostile", "json")),
        "version": replace(
            _spec(tmp_path / "next", "import os\nWHERE = (0, os.urandom(8).hex())"), function_id=spec.function_id
        ),
    }
    seen = {}
    for name, each in {"first": spec, **others}.items():
        instance = await _nursed(backend, each)
        assert _is_nursed(instance)
        seen[name] = (await _ask(instance, "return hostile.WHERE"))[1], instance.spawned, backend._nurseries.ready[-1]
        await instance.destroy()
    assert len({imported for imported, *_ in seen.values()}) == len(seen)
    left = backend._nurseries.ready
    assert seen["first"][2] not in left, "an older version's nursery goes when the function has another"
    assert seen["version"][2] in left


async def test_the_least_recently_used_nursery_makes_room(backend, tmp_path):
    """Nurseries count in the memory of templates, and one with instances stays."""
    busy = await _nursed(backend, _spec(tmp_path / "busy", "x = bytes(4 << 20)"))
    kept = backend._nurseries.ready[-1]
    idle = _spec(tmp_path / "idle", "x = bytes(4 << 20)", tenant="umbrella")
    await (await _nursed(backend, idle)).destroy()
    goes = backend._nurseries.ready[-1]
    try:
        await backend.keep_templates({"python"}, memory_bytes=1)
        with anyio.fail_after(10):
            await backend._nurseries.settled()  # one that makes a spare just now goes once it has
        assert backend._nurseries.ready == (kept,)
        with anyio.fail_after(10):
            await goes._sandbox.spawned.wait()
        assert await _ask(busy, "return 'alive'") == "alive"
        ordinary = await _started(backend, idle)
        assert not _is_nursed(ordinary), "without room it starts the ordinary way"
        await ordinary.destroy()
    finally:
        await busy.destroy()
        await backend.keep_templates({"python"}, memory_bytes=MEMORY_BYTES)


async def test_an_idle_nursery_ends(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(nurseries, "_IDLE_S", -1.0)
    monkeypatch.setattr(nurseries, "_LOOK_S", 0.01)
    instance = await _nursed(backend, _spec(tmp_path / "code", ""))
    made = backend._nurseries.ready[-1]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend._nurseries.run)
        await anyio.sleep(0.1)
        assert not made._sandbox.spawned.status, "it has an instance"
        await instance.destroy()
        with anyio.fail_after(10):
            await made._sandbox.spawned.wait()
        tasks.cancel_scope.cancel()


async def test_the_end_of_an_instance_is_told_as_of_any_other(backend, tmp_path):
    instance = await _nursed(backend, _spec(tmp_path / "code", ""))
    try:
        with pytest.raises(InstanceDied) as died:
            await _ask(instance, "os._exit(7)")
        assert died.value.cause == "exit status 7"
    finally:
        await instance.destroy()
    instance = await _nursed(backend, _spec(tmp_path / "hog", "", memory_mb=64))
    try:
        with pytest.raises(InstanceDied) as died:
            await _ask(instance, "return len(b'x' * (1 << 30))")
        assert died.value.cause == "out of memory"
    finally:
        await instance.destroy()


async def test_instances_die_with_their_nursery_and_nothing_is_left(backend, tmp_path):
    spec = _spec(tmp_path / "code", "")
    instance = await _nursed(backend, spec)
    made = backend._nurseries.ready[-1]
    os.kill(made.pid, signal.SIGKILL)
    with anyio.fail_after(10):
        await instance.died.wait()
        await instance.destroy()
        while made in backend._nurseries.ready or made.spares:
            await anyio.sleep(0.01)
    assert processes_of(made._uid) == []
    again = await _started(backend, spec)
    assert await _ask(again, "return 'alive'") == "alive"
    await again.destroy()
