"""What a build may do, what it is told when it does more, and what is left of it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import anyio
import pytest

from constellation.comet.builds.contract import BuilderUnavailable, BuildFailed
from constellation.comet.builds.sources import sources_of
from constellation.comet.builds.toolchain import Toolchain
from constellation.nova.config.packages import PackageSettings
from constellation.nova.config.sections import BuildSettings
from constellation.testing.builds import build_rig

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]
WITHOUT_CGROUPS = pytest.mark.parametrize("rig", ["cgroups", "no-cgroups"], indirect=True)


async def _built(rig, script, **fields):
    return await rig.built("script", {"main.sh": script}, **fields)


async def _refused(rig, script, **fields):
    with pytest.raises(BuildFailed) as caught:
        await _built(rig, script, **fields)
    return str(caught.value)


def _tree(root: Path):
    return {str(p.relative_to(root)): p.read_text() if p.is_file() else None for p in sorted(root.rglob("*"))}


async def test_what_is_left_in_the_output_comes_out_with_its_modes(rig):
    request = await _built(
        rig,
        "mkdir -p out/a/b; echo one > out/a/b/one; printf '' > out/empty; echo '#!' > out/run; chmod 4777 out/run; umask 077; echo x > out/x",
    )
    assert _tree(request.output) == {"a": None, "a/b": None, "a/b/one": "one\n", "empty": "", "run": "#!\n", "x": "x\n"}
    modes = {p.name: oct(p.stat().st_mode & 0o7777) for p in request.output.rglob("*")}
    assert modes == {"a": "0o755", "b": "0o755", "one": "0o644", "empty": "0o644", "run": "0o755", "x": "0o644"}
    assert {p.stat().st_uid for p in request.output.rglob("*")} == {os.geteuid()}


async def test_tools_are_heard_as_they_speak(rig):
    heard = anyio.Event()
    request = rig.request("script", {"main.sh": "echo first; sleep 600; echo never"})

    def log(data):
        if b"first" in data:
            heard.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: rig.builder.build(request, log=log))
        with anyio.fail_after(30):
            await heard.wait()
        tasks.cancel_scope.cancel()


async def test_a_failing_tool_is_the_reason(rig):
    assert "exit status 3: main.x:7: no such thing" in await _refused(rig, "echo 'main.x:7: no such thing' >&2; exit 3")


async def test_output_is_bounded(rig):
    await _refused(rig, "yes long line of output | head -c 30000000; exit 1")
    assert 4 << 20 <= len(rig.said) < (4 << 20) + 1000
    assert rig.said.endswith(b"left out]\n")


async def test_sources_and_tools_can_not_be_changed(rig):
    request = await _built(
        rig,
        "for f in /src/main.sh /src/new /run/recipe/build.sh /usr/x /etc/passwd; do (echo x >> $f) 2>/dev/null && echo $f >> out/wrote; done; id -u > out/uid",
    )
    assert _tree(request.output) == {"uid": "1000\n"}


async def test_a_full_disk_is_told(rig):
    reason = await _refused(rig, "head -c 100000000 /dev/zero > big; echo reached", disk_mb=32)
    assert "more than the 32 MiB that a build may write" in reason


@WITHOUT_CGROUPS
async def test_a_fork_bomb_ends_with_the_build(rig):
    script = "bomb() { bomb | bomb & }; bomb; i=0; while [ $i -lt 2000 ]; do sleep 60 & i=$((i+1)); done; wait"
    reason = await _refused(rig, script, timeout_s=20)
    assert "more than the 512 processes" in reason or "longer than the 20 s" in reason


@WITHOUT_CGROUPS
async def test_too_much_memory_is_told(rig):
    script = "python3 -c 'x = [bytearray(1 << 20) for _ in range(600)]; print(len(x)); import time; time.sleep(30)'"
    assert "more than the 64 MiB of memory" in await _refused(rig, script, memory_mb=64, disk_mb=32, timeout_s=60)


async def test_an_endless_build_is_ended(rig):
    assert "longer than the 1 s" in await _refused(rig, "while :; do :; done", timeout_s=1)


async def test_a_background_process_does_not_hold_a_build(rig):
    request = await _built(rig, "sleep 600 & setsid sleep 600 & echo done > out/x", timeout_s=60)
    assert _tree(request.output) == {"x": "done\n"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("ln -s /etc/passwd out/x", "a symbolic link: x"),
        ("ln -s . out/x", "a symbolic link: x"),
        ("mkdir out/d; mkfifo out/d/x", "neither a file nor a directory: d/x"),
        (
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"out/x\")'",
            "neither a file nor a directory: x",
        ),
        ("rm -r out; ln -s / out", "nothing: /build/out"),
        ("truncate -s 900G out/x", "too many bytes"),
        ("d=out; i=0; while [ $i -lt 80 ]; do d=$d/d; i=$((i+1)); done; mkdir -p $d", "directories too deep"),
        ("chmod 0 out", "nothing: /build/out"),
        ("python3 -c 'import os; os.mkdir(b\"out/\\xff\")'", "not UTF-8"),
    ],
)
async def test_a_tree_that_is_no_tree_of_files_is_refused(rig, script, reason):
    assert reason in await _refused(rig, script)


async def test_many_files_are_refused(rig, monkeypatch):
    monkeypatch.setattr("constellation.comet.builds.follow._ENTRIES", 100)
    assert "too many files" in await _refused(rig, "i=0; while [ $i -lt 101 ]; do : > out/$i; i=$((i+1)); done")


async def test_builds_of_one_name_at_once_never_meet(rig):
    requests = [
        rig.request(
            "script",
            {"main.sh": f"echo {n} > /tmp/mine; echo {n} > mine; sleep 0.5; cat /tmp/mine mine > out/{n}"},
            tenant=f"t{n}",
        )
        for n in range(3)
    ]
    async with anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(lambda request=request: rig.builder.build(request, log=lambda _: None))
    assert [_tree(request.output) for request in requests] == [{str(n): f"{n}\n{n}\n"} for n in range(3)]


def _groups(process: Path) -> str:
    try:
        return (process / "cgroup").read_text()
    except OSError:
        return ""


@pytest.mark.skipif(os.geteuid() != 0, reason="looks for processes by their uid")
async def test_a_cancelled_build_leaves_nothing(rig, tmp_path):
    started = anyio.Event()
    request = rig.request("script", {"main.sh": "for i in 1 2 3 4 5; do setsid sleep 600 & done; echo up; sleep 600"})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: rig.builder.build(request, log=lambda _: started.set()))
        with anyio.fail_after(30):
            await started.wait()
        tasks.cancel_scope.cancel()
    assert not list((tmp_path / "w").iterdir())
    assert not list(request.output.iterdir())
    group = f"constellation-b{tmp_path.name[-6:]}"
    held = [p.name for p in Path("/proc").glob("[0-9]*") if f"/{group}/s" in _groups(p)]
    assert not held
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line]
    await _built(rig, "echo again > out/x")  # in the same slot, with the same user


# -- the network

PROBE = """
python3 - <<'E'
import os, socket, sys
def attempt(name, work):
    try:
        work()
    except OSError as error:
        print(name, "refused")
    else:
        print(name, "REACHED")
attempt("direct", lambda: socket.create_connection(("127.0.0.1", {port}), 3))
attempt("metadata", lambda: socket.create_connection(("169.254.169.254", 80), 3))
attempt("elsewhere", lambda: socket.create_connection(("1.1.1.1", 443), 3))
def ask(request):
    with socket.create_connection(("127.0.0.1", 3128), 10) as proxy:
        proxy.sendall(request)
        reply = b""
        while piece := proxy.recv(65536):
            reply += piece
    return reply
for request in {requests!r}:
    reply = ask(request)
    print(reply.split(b"\\r\\n")[0].decode(), reply.rpartition(b"\\r\\n\\r\\n")[2][:60].decode().strip())
E
"""


@pytest.fixture
def origin():
    """A package source: answers every request with its first line."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                said = client.recv(65536)
                body = said.split(b"\r\n")[0]
                client.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
                )

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def test_a_build_reaches_the_configured_sources_and_nothing_else(rig, origin, tmp_path):
    root = tmp_path / "second"
    root.mkdir(mode=0o755)
    requests = [
        b"GET http://127.0.0.1:%d/a?b=c HTTP/1.1\r\nHost: x\r\n\r\n" % origin,
        b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nGET /tunnel HTTP/1.1\r\n\r\n" % origin,
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
        b"CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n",
        b"GET http://localhost:%d/ HTTP/1.1\r\n\r\n" % origin,
        b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx" % origin,
    ]
    toolchain: Toolchain = rig.builder._toolchains["script"]
    sources = sources_of(BuildSettings(sources=PackageSettings(pip=f"http://127.0.0.1:{origin}/simple")))
    async with build_rig(rig.backend, root, sources=sources, toolchains={"script": toolchain}) as second:
        await second.built("script", {"main.sh": PROBE.format(port=origin, requests=requests)})
    lines = [line for line in second.said.decode().splitlines() if not line.startswith("constellation:")]
    assert lines == [
        "direct refused",
        "metadata refused",
        "elsewhere refused",
        "HTTP/1.1 200 OK GET /a?b=c HTTP/1.1",
        "HTTP/1.1 200 Connection established GET /tunnel HTTP/1.1",
        "HTTP/1.1 403 Forbidden no package source of this platform",
        "HTTP/1.1 403 Forbidden no package source of this platform",
        "HTTP/1.1 403 Forbidden no package source of this platform",
        "HTTP/1.1 405 Method Not Allowed only CONNECT, and GET and HEAD of a whole http URL, are serv",
    ]
    assert b"constellation: 127.0.0.1:22 is no package source of this platform" in second.said


async def test_a_missing_toolchain_is_named(rig):
    with pytest.raises(BuilderUnavailable, match="cobol"):
        rig.builder.toolchain("cobol")
    assert rig.builder.toolchain("c").startswith("c 1")


INSIDE = r"""
set +e
status() { grep -E "^$1:" /proc/self/status | tr -d '\t '; }
for field in CapEff CapPrm CapBnd Seccomp NoNewPrivs; do status $field; done
ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev
ls -d /root/* /home/* /var/* /work /proc/[0-9]* 2>/dev/null | grep -v '^/proc/[0-9]*$' || :
env | grep -c -i -E 'secret|token|NOVA_' || :
unshare -Ur true 2>/dev/null && echo unshared
mount -t tmpfs none /build/tmp 2>/dev/null && echo mounted
mkdir m; mknod m/disk b 254 0 2>/dev/null && echo device
kill -9 1 2>/dev/null; echo "pids $(ls -d /proc/[0-9]* | wc -l)" | sed 's/pids [1-9]$/few/'
"""


async def test_a_build_is_confined_as_a_function_is(rig, monkeypatch):
    monkeypatch.setenv("NOVA_SECRET", "of the platform")
    await _built(rig, INSIDE)
    lines = rig.said.decode().split()
    none = "0000000000000000"
    assert lines == [f"CapEff:{none}", f"CapPrm:{none}", f"CapBnd:{none}", "Seccomp:2", "NoNewPrivs:1", "1", "0", "few"]
