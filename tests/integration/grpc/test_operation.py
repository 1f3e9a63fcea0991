"""Changes while calls run, the database away, and the process's end."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from constellation.aurora.observability.plane import new_context
from constellation.base.address import Address
from constellation.base.errors import ConstellationError, RemoteProblem
from constellation.base.statedir import make_private, write_private
from constellation.nova.config.sections import PlatformSettings, PoolSettings, Settings
from constellation.nova.store.functions import Functions
from constellation.nova.store.pool import connect, run_alone
from constellation.nova.store.tenancy import Tenancy
from constellation.rpc.channel import PlaneChannel
from constellation.testing.fake_backend import Script
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceStub

from .conftest import KEY, SERVICE_TOKEN, Comet, running

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

VERSION = "def handler(event, context):\n    import time\n    time.sleep(event or 0)\n    return {}\n"


async def live_soon(check):
    with anyio.fail_after(5):  # it takes milliseconds; the machine may be busy
        while not await check():
            await anyio.sleep(0.01)


@pytest.mark.sandbox
@pytest.mark.slow
async def test_new_code_is_live_while_old_calls_finish(comet):
    await comet.deploy("f", VERSION.format(1), max_replicas=2)
    await comet.invoke("f", 0)
    answers = []

    async def slow():
        reply = await comet.invoke("f", 3)
        answers.append((json.loads(reply.output), reply.version))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow)
        await anyio.sleep(0.1)
        await comet.deploy("f", VERSION.format(2), max_replicas=2)

        async def is_new():
            return (await comet.invoke("f", 0)).version == "2"

        await live_soon(is_new)
        assert not answers
        assert json.loads((await comet.invoke("f", 0)).output) == 2
    assert answers == [(1, "1")]
    code = comet.context.state_dir / "code"
    with anyio.fail_after(5):
        while len(list(code.glob("default/*/*"))) != 1:  # the old version's files go with its last instance
            await anyio.sleep(0.02)


async def test_a_policy_is_live_without_new_instances(thin):
    row = await thin.deploy("f", "")
    await thin.invoke("f", 1)
    made = thin.plane.backends[0].made
    await thin.functions.update(replace(row, halted=True))

    async def is_halted():
        try:
            await thin.invoke("f", 1)
        except RemoteProblem as problem:
            return problem.code == "halted"
        return False

    await live_soon(is_halted)
    row = await thin.functions.get("default", "default", "f")
    await thin.functions.update(replace(row, halted=False, timeout_s=3.0))

    async def runs():
        try:
            return await thin.invoke("f", 1)
        except RemoteProblem:
            return False

    await live_soon(runs)
    assert thin.plane.backends[0].made == made


async def test_a_suspended_tenant_may_not_call(thin, db):
    await thin.deploy("f", "")
    await thin.invoke("f", 1)
    tenancy = Tenancy(db)
    await tenancy.update_tenant(replace(await tenancy.get_tenant("default"), status="suspended"))

    async def is_refused():
        try:
            await thin.invoke("f", 1)
        except RemoteProblem as problem:
            return problem.code == "tenant_suspended"
        return False

    await live_soon(is_refused)


async def test_a_deleted_function_is_gone_with_its_instances_and_code(thin):
    await thin.deploy("f", "x = 1")
    await thin.invoke("f", 1)
    await thin.functions.delete("default", "default", "f")

    async def is_gone():
        try:
            await thin.invoke("f", 1)
        except RemoteProblem as problem:
            return problem.code == "not_found"
        return False

    await live_soon(is_gone)
    with anyio.fail_after(5):
        while thin.plane.pool.total or list((thin.context.state_dir / "code").iterdir()):
            await anyio.sleep(0.02)
    await thin.deploy("f", "x = 2")
    await thin.invoke("f", 1)


async def test_min_replicas_are_kept_from_the_start(database, tmp_path):
    async with connect(database.dsn(), application="nova") as nova:
        rig = Comet.__new__(Comet)
        rig.functions = Functions(nova)
        await rig.deploy("warm", "", min_replicas=2)
        async with running(database, tmp_path / "state", script=Script()) as comet:
            backend = comet.plane.backends[0]
            await settled(backend, 2)
            assert not (await comet.invoke("warm", 1)).cold_start
            next(iter(backend.alive.values())).die("signal 9")
            await settled(backend, 2)
            await rig.deploy("also", "", min_replicas=1)
            await settled(backend, 3)


async def settled(backend, count):
    with anyio.fail_after(5):
        while sum(i.is_initialised and not i.died.is_set() for i in backend.alive.values()) != count:
            await anyio.sleep(0.02)


async def test_idle_instances_expire(database, tmp_path):
    settings = Settings(pool=PoolSettings(idle_ttl_s=0.2))
    async with running(database, tmp_path / "state", script=Script(), settings=settings) as comet:
        await comet.deploy("f", "")
        await comet.invoke("f", 1)
        await settled(comet.plane.backends[0], 0)


async def test_without_its_database_comet_serves_what_it_knows(database, tmp_path, postgres):
    async with running(database, tmp_path / "state", script=Script()) as comet:
        await comet.deploy("known", "")
        await comet.deploy("unknown", "")
        await comet.invoke("known", 1)
        # The numbers of a sequence copied from a template database survive a crash only after a checkpoint.
        await run_alone(postgres.postgres.superuser_dsn(), "CHECKPOINT")
        pid = postgres.postgres.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        try:
            with anyio.fail_after(10):
                while True:
                    await comet.invoke("known", 2)
                    try:
                        await comet.invoke("unknown", 1)
                    except RemoteProblem as problem:
                        if problem.http_status == 503:
                            break
                    comet.plane.executor._functions._kept.pop(("default", "default", "unknown"), None)
        finally:
            await postgres.postgres.start()
        with anyio.fail_after(15):
            while True:
                try:
                    await comet.invoke("unknown", 1)
                except RemoteProblem:
                    await anyio.sleep(0.05)
                    continue
                break
            changed = await comet.functions.get("default", "default", "known")
            await comet.functions.update(replace(changed, halted=True))

            async def is_halted():
                try:
                    await comet.invoke("known", 3)
                except RemoteProblem as problem:
                    return problem.code == "halted"
                return False

            await live_soon(is_halted)
            while (await comet.http("GET", "/functions/known/invocations")).json()["pagination"]["total"] < 3:
                await anyio.sleep(0.05)


@asynccontextmanager
async def daemon(database, state_dir, *flags):
    """Run the command `comet` as its own process."""
    make_private(state_dir)
    write_private(state_dir / "service.token", SERVICE_TOKEN)
    write_private(state_dir / "identity.key", KEY)
    write_private(state_dir / "comet.dsn", database.dsn("comet"))
    code = "from constellation.comet.main import main; main()"
    command = [sys.executable, "-c", code, "daemon", "--grpc", "127.0.0.1:0", "--state-dir", str(state_dir), *flags]
    async with await anyio.open_process(command, stdout=None, stderr=-1) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def port_of(process) -> int:
    """Read the log up to the line that says where comet listens."""
    text = b""
    with anyio.fail_after(30):
        async for piece in process.stderr:
            text += piece
            for line in text.splitlines():
                if b"comet.ready" in line and b"grpc=127.0.0.1:" in line:
                    return int(line.split(b"grpc=127.0.0.1:")[1].split()[0])
    raise AssertionError(text.decode())


@pytest.mark.sandbox
@pytest.mark.slow
async def test_the_daemon_finishes_its_calls_when_told_to_stop(database, tmp_path, db):
    client = Comet.__new__(Comet)
    client.is_native = False  # it has no plane here that could be taught
    client.functions = Functions(db)
    await client.deploy("naps", "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n")
    async with daemon(database, tmp_path / "state") as process:
        port = await port_of(process)
        client.channel = PlaneChannel(name="comet", service_token=SERVICE_TOKEN, address=Address("127.0.0.1", port))
        client.stub = NovaServiceStub(client.channel.grpc)
        client.context = new_context(
            "test", PlatformSettings(), state_dir=tmp_path, service_token=SERVICE_TOKEN, identity_key=KEY
        )
        answers, refusals = [], []

        async def call(event):
            try:
                answers.append(await client.output("naps", event))
            except ConstellationError as error:
                refusals.append(error.http_status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, 0)
            tasks.start_soon(call, 2)
            await anyio.sleep(1)
            process.send_signal(signal.SIGTERM)
            await anyio.sleep(0.2)
            tasks.start_soon(call, 1)
        assert answers == [0, 2], refusals
        assert refusals == [503]
        with anyio.fail_after(15):
            assert await process.wait() == 0
        client.channel.close()
    async with db.transaction() as tx:
        assert await tx.fetch_value("SELECT count(*) FROM invocations") == 2


@pytest.mark.slow
async def test_the_daemon_says_in_one_line_what_it_lacks(tmp_path):
    code = "from constellation.comet.main import main; main()"
    command = [sys.executable, "-c", code, "daemon", "--state-dir", str(tmp_path), "--grpc", "nonsense"]
    env = os.environ | {"NOVA_SERVICE_TOKEN": "t", "NOVA_IDENTITY_KEY": "k", "NOVA_PG_DSN": "postgresql://nowhere"}
    done = await anyio.run_process(command, check=False, env=env)
    assert done.returncode == 1
    assert done.stderr.decode().strip() == "comet: 'nonsense' is not HOST:PORT"


async def test_stats_and_async_over_grpc(thin):
    await thin.deploy("f", "")
    await thin.invoke("f", 1)
    stats = await thin.channel.unary(thin.stub.Stats, nova_pb2.StatsRequest(), metadata=thin.metadata(), timeout_s=10)
    assert (stats.instances, stats.invocations, stats.cold_starts) == (1, 1, 1)
    assert stats.functions[0].function == "f"
    answers = [
        await thin.channel.unary(
            thin.stub.InvokeAsync,
            nova_pb2.InvokeAsyncRequest(function="f", payload=b"1", idempotency_key="k", source="schedule/7"),
            metadata=thin.metadata(),
            timeout_s=10,
        )
        for _ in range(2)
    ]
    assert [answer.status for answer in answers] == ["queued", "replay"]
    assert answers[0].id == answers[1].id
    job = (await thin.http("GET", f"/async-invocations/{answers[0].id}")).json()
    assert (job["source"], job["max_attempts"]) == ("schedule/7", 3)
