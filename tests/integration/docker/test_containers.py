"""What a container of a function is, seen from inside and by its daemon."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceDied, RuntimeUnavailable, SandboxStartFailed
from constellation.comet.runtimes.provided.recipe import RUNTIME as PROVIDED
from constellation.testing.dockerd import IMAGE
from constellation.testing.sandboxes import running_docker

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

LOOK = """
import errno, os

def refused(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError as error:
        return errno.errorcode[error.errno]

def handler(event, context):
    status = dict(line.partition(":\\t")[::2] for line in open("/proc/self/status").read().splitlines())
    tmp = os.statvfs("/tmp")
    open("/dev/stdout", "w").write("by its name")
    return {
        "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "capabilities": int(status["CapBnd"], 16),
        "no_new_privs": status["NoNewPrivs"], "seccomp": status["Seccomp"],
        "interfaces": [line.partition(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]], "cwd": os.getcwd(),
        "refused": [refused(path) for path in ("/x", "/code/x", "/run/worker/x", "/run/constellation/x", "/etc/x")],
        "tmp_bytes": tmp.f_blocks * tmp.f_frsize, "door": os.listdir("/run/constellation"),
        "descriptors": sorted(os.listdir("/proc/self/fd"))[:4], "mode": os.stat("/code/main.py").st_mode & 0o777,
    }
"""


def call(payload: bytes = b"null", *, timeout_s: float = 20) -> Call:
    return Call(request_id=uuid7(), payload=payload, timeout_s=timeout_s)


async def test_it_has_what_its_spec_says_and_nothing_else(backend, spec, daemon):
    wanted = spec(LOOK, memory_mb=96, cpu_millis=4500, max_pids=40, tmp_mb=8)
    instance = await backend.create(wanted, timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        outcome = await instance.invoke(call())
        assert outcome.error is None, outcome.error
        seen = json.loads(outcome.output)
        uid = 1_500_000 + instance.user
        assert (seen["uid"], seen["gid"], seen["groups"]) in ((uid, uid, []), (uid, uid, [uid]))
        assert (seen["capabilities"], seen["no_new_privs"], seen["seccomp"]) == (0, "1", "2")
        assert seen["interfaces"] == ["lo"]
        assert seen["cwd"] == "/tmp"
        # the door's directory is gone from the host by now
        assert seen["refused"] == ["EROFS", "EROFS", "EROFS", "ENOENT", "EROFS"]
        assert seen["tmp_bytes"] == 8 << 20
        assert seen["door"] == []
        assert outcome.log.text == "by its name"
        [listed] = daemon.get("/containers/json").json()
        assert listed["Labels"] == {
            "constellation.platform": backend._settings.platform,
            "constellation.tenant": "acme",
            "constellation.namespace": "prod",
            "constellation.function": "f",
            "constellation.instance": instance.id,
        }
        host = daemon.get(f"/containers/{instance.container}/json").json()["HostConfig"]
        limits = {name: host[name] for name in ("Memory", "MemorySwap", "CpuQuota", "CpuPeriod", "PidsLimit")}
        assert limits == {
            "Memory": 96 << 20, "MemorySwap": 96 << 20, "CpuQuota": 450_000, "CpuPeriod": 100_000, "PidsLimit": 40,
        }  # fmt: skip
        stats = await instance.stats()
        assert 1 << 20 < stats.memory_bytes < 96 << 20
        assert stats.cpu_s > 0
        assert 2 <= stats.pids <= 40
    finally:
        await instance.destroy()
    assert daemon.get("/containers/json?all=true").json() == []
    assert list(backend._settings.run_dir.iterdir()) == [backend._settings.run_dir / "guest-python"]


async def test_each_has_a_user_of_its_own_until_it_is_gone(backend, spec):
    one, other = [await backend.create(spec("def handler(e, c):\n    return 1\n"), timeout_s=30) for _ in range(2)]
    assert one.user != other.user
    await one.destroy()
    third = await backend.create(spec("def handler(e, c):\n    return 1\n"), timeout_s=30)
    assert third.user == one.user
    await other.destroy()
    await third.destroy()


async def test_a_container_that_somebody_removes_is_a_died_instance(backend, spec, daemon):
    instance = await backend.create(spec("import time\ndef handler(e, c):\n    time.sleep(60)\n"), timeout_s=30)
    await instance.init(timeout_s=20)
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(InstanceDied) as died:
                await instance.invoke(call())
            assert died.value.cause in ("signal 9", "ended, and the daemon does not say why")

        tasks.start_soon(ask)
        await anyio.sleep(0.1)
        removal = await anyio.to_thread.run_sync(lambda: daemon.delete(f"/containers/{instance.container}?force=true"))
        assert removal.status_code == 204
    with anyio.fail_after(20):
        await instance.died.wait()
    await instance.destroy()


def _commit(daemon, name: str, change: str) -> None:
    """Make an image of the run's own with one change."""
    made = daemon.post("/containers/create", json={"Image": IMAGE, "Cmd": ["sh"]}).json()["Id"]
    asked = {"container": made, "repo": name.partition(":")[0], "tag": name.partition(":")[2], "changes": change}
    assert daemon.post("/commit", params=asked).status_code == 201
    assert daemon.delete(f"/containers/{made}").status_code == 204


async def test_an_image_without_the_language_is_told(dockerd, settings, spec, daemon):
    _commit(daemon, "without-python:1", "ENV PATH=/nowhere")
    async with running_docker(settings(dockerd, images={"python": "without-python:1"})) as backend:
        with pytest.raises(SandboxStartFailed) as failed:
            await backend.create(spec("def handler(e, c):\n    return 1\n"), timeout_s=30)
        assert "exit status 126: ct-guest: python3: No such file or directory" in str(failed.value)
    assert daemon.get("/containers/json?all=true").json() == []


@pytest.mark.parametrize("name", ["absent:1", "with-volume:1"])
async def test_an_image_that_can_not_be_used_is_named(dockerd, settings, spec, daemon, name):
    if name == "with-volume:1":
        _commit(daemon, name, "VOLUME /data")
    async with running_docker(settings(dockerd, images={"python": name, "node": IMAGE})) as backend:
        assert backend.support().available  # node can run
        assert name in backend.support().missing_runtimes["python"]
        with pytest.raises(RuntimeUnavailable) as refused:
            await backend.create(spec("def handler(e, c):\n    return 1\n"), timeout_s=30)
        assert name in refused.value.reason
    async with running_docker(settings(dockerd, images={"python": name})) as backend:
        assert backend.support().available  # functions may bring images of their own
        assert name in backend.support().missing_runtimes["python"]


async def test_a_program_of_its_own_finds_the_runtime_api(dockerd, settings, spec):
    wanted = spec(PROVIDED.hello.read_text(), runtime="custom", handler="python3 main.py")
    async with running_docker(settings(dockerd, images={"custom": IMAGE})) as backend:
        instance = await backend.create(wanted, timeout_s=30)
        try:
            await instance.init(timeout_s=20)
            for name in ("Ada", "Grace"):
                outcome = await instance.invoke(call(json.dumps({"name": name}).encode()))
                assert outcome.error is None, outcome.error
                assert json.loads(outcome.output) == {"message": f"Hello, {name}!"}
        finally:
            await instance.destroy()


LAYERED = """
import errno, os

def handler(event, context):
    import shared
    try:
        open("/opt/python/new.py", "w")
        wrote = ""
    except OSError as error:
        wrote = errno.errorcode[error.errno]
    return [shared.VALUE, sorted(os.listdir("/opt")), wrote]
"""


@pytest.mark.parametrize("runtime", ["python", "node"])
async def test_a_container_sees_its_layers_and_can_not_change_them(backend, spec, tmp_path, runtime):
    layers = tmp_path / "layers"
    for path, text in {
        "python/shared.py": "VALUE = 7\n",
        "nodejs/node_modules/snow/index.js": "exports.snow = () => 'soft';\n",
    }.items():
        (layers / path).parent.mkdir(parents=True, exist_ok=True)
        (layers / path).write_text(text)
    for path in (layers, *layers.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    sources = {
        "python": (LAYERED, [7, ["nodejs", "python"], "EROFS"]),
        "node": ("exports.handler = () => require('snow').snow();\n", "soft"),
    }
    source, expected = sources[runtime]
    wanted = spec(source, runtime=runtime, layers_dir=layers)
    if runtime == "node":
        (wanted.code_dir / "main.py").rename(wanted.code_dir / "main.js")
    instance = await backend.create(wanted, timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        outcome = await instance.invoke(call())
        assert outcome.error is None, outcome.error
        assert json.loads(outcome.output) == expected
    finally:
        await instance.destroy()
