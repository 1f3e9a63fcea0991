"""Calls with an idempotency key, over real gRPC and a real database."""

from __future__ import annotations

import json
from hashlib import sha256
from uuid import UUID

import anyio
import pytest

from constellation.base.errors import RemoteProblem
from constellation.base.ids import RequestId, uuid7
from constellation.comet.executor.once import LEASE_S
from constellation.nova.config.sections import IdempotencySettings, Settings
from constellation.nova.store.call_keys import CallKey, CallKeys, KeptAnswer
from constellation.nova.store.pool import connect
from constellation.nova.store.tenancy import Tenancy
from constellation.rpc.metadata import CallContext
from constellation.testing.fake_backend import Script

from .conftest import eventually, running

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.slow]

DRAWS = """
import uuid
def handler(event, context):
    if event == "raise":
        raise ValueError(uuid.uuid4().hex)
    return uuid.uuid4().hex
"""
PAYLOAD = b'"x"'


def keyed(key: str, **more) -> CallContext:
    return CallContext(request_id=RequestId(uuid7()), idempotency_key=key, **more)


class Hold:
    """A handler that counts its calls, and holds them until it is told what becomes of them."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun, self.go = anyio.Event(), anyio.Event()
        self.fails = False

    async def __call__(self, _spec, call) -> bytes:
        self.calls += 1
        self.begun.set()
        await self.go.wait()
        if self.fails:
            await anyio.sleep_forever()
        return b'"%d"' % self.calls


@pytest.mark.sandbox
async def test_a_key_gets_the_same_answer_again_within_its_function_and_tenant(comet, database):
    async with connect(database.dsn("owner"), application="tests", max_size=1) as db:
        await Tenancy(db).create_tenant("acme", name="Acme")
    await comet.deploy("draws", DRAWS)
    await comet.deploy("other", DRAWS)
    await comet.deploy("draws", DRAWS, tenant="acme")
    first = await comet.invoke("draws", "x", context=keyed("k"))
    again = await comet.invoke("draws", "x", context=keyed("k"))
    assert (first.replayed, again.replayed) == (False, True)
    again.replayed = False
    assert again == first
    others = [
        await comet.invoke("draws", "x", context=keyed("l")),
        await comet.invoke("other", "x", context=keyed("k")),
        await comet.invoke("draws", "x", context=keyed("k"), tenant="acme"),
        await comet.invoke("draws", "x"),
    ]
    assert not any(other.replayed for other in others)
    assert len({first.output, *(other.output for other in others)}) == 5
    raised = await comet.invoke("draws", "raise", context=keyed("r"))
    again = await comet.invoke("draws", "raise", context=keyed("r"))
    assert (json.loads(raised.error)["type"], again.error, again.replayed) == ("ValueError", raised.error, True)


async def test_a_key_with_another_payload_is_refused(thin):
    await thin.deploy("f", "")
    await thin.invoke("f", 1, context=keyed("k"))
    with pytest.raises(RemoteProblem) as refused:
        await thin.invoke("f", 2, context=keyed("k"))
    assert (refused.value.code, refused.value.http_status) == ("idempotency_mismatch", 422)
    fingerprint = sha256(b"what was asked for").digest()  # of a caller whose payloads differ each time
    first = await thin.invoke("f", 1, context=keyed("url", idempotency_fingerprint=fingerprint))
    again = await thin.invoke("f", 2, context=keyed("url", idempotency_fingerprint=fingerprint))
    assert (again.output, again.replayed) == (first.output, True)


async def test_duplicates_at_once_are_one_call(database, tmp_path):
    hold = Hold()
    replies = []

    async def call(comet) -> None:
        replies.append(await comet.invoke("f", "x", context=keyed("k")))

    async with running(database, tmp_path / "state", script=Script(handle=hold)) as comet:
        await comet.deploy("f", "")
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(call, comet)
            await hold.begun.wait()
            with pytest.raises(RemoteProblem) as refused:  # while it runs, too
                await comet.invoke("f", "y", context=keyed("k"))
            assert refused.value.code == "idempotency_mismatch"
            with pytest.raises(RemoteProblem) as late:
                await comet.invoke("f", "x", context=keyed("k"), timeout_ms=50)
            assert (late.value.code, late.value.http_status) == ("idempotency_in_progress", 409)
            hold.go.set()
    assert hold.calls == 1
    assert [reply.output for reply in replies] == [b'"1"'] * 8
    assert sorted(reply.replayed for reply in replies) == [False] + [True] * 7


async def test_a_call_that_got_no_answer_frees_its_key(database, tmp_path):
    hold = Hold()
    hold.fails = True
    hold.go.set()
    async with running(database, tmp_path / "state", script=Script(handle=hold)) as comet:
        await comet.deploy("f", "", timeout_s=0.1)
        with pytest.raises(RemoteProblem) as late:
            await comet.invoke("f", "x", context=keyed("k"))
        assert late.value.code == "timeout"
        hold.fails = False
        reply = await comet.invoke("f", "x", context=keyed("k"))
        assert (reply.output, reply.replayed) == (b'"2"', False)


async def test_a_duplicate_takes_over_from_a_caller_that_hung_up(database, tmp_path):
    hold = Hold()
    replies = []

    async def call(comet) -> None:
        replies.append(await comet.invoke("f", "x", context=keyed("k")))

    async with running(database, tmp_path / "state", script=Script(handle=hold)) as comet:
        await comet.deploy("f", "")
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as first:
                async with anyio.create_task_group() as gone:
                    gone.start_soon(call, comet)
                    await hold.begun.wait()
                    tasks.start_soon(call, comet)
                    first.cancel()
            hold.go.set()
    assert [(reply.output, reply.replayed) for reply in replies] == [(b'"2"', False)]


async def test_an_answer_outlives_its_comet_and_not_its_time(database, tmp_path):
    settings = Settings(idempotency=IdempotencySettings(ttl_s=3600.0))
    async with running(database, tmp_path / "one", script=Script(), settings=settings) as comet:
        await comet.deploy("f", "")
        first = await comet.invoke("f", "x", context=keyed("k"))
    async with running(database, tmp_path / "two", script=Script()) as comet:
        again = await comet.invoke("f", "x", context=keyed("k"))
        assert (again.request_id, again.replayed) == (first.request_id, True)
        async with connect(database.dsn("owner"), application="tests", max_size=1) as db:
            async with db.transaction() as tx:
                await tx.execute("UPDATE call_keys SET expires_at = now() - interval '1 second'")
            assert not (await comet.invoke("f", "y", context=keyed("k"))).replayed
            async with db.transaction() as tx:
                await tx.execute("UPDATE call_keys SET expires_at = now() - interval '1 second'")
            assert (await CallKeys(db).forget(limit=10), await CallKeys(db).forget(limit=10)) == (1, 0)


async def test_a_key_of_another_comet_is_waited_for_and_one_of_a_dead_comet_taken_over(thin, database):
    await thin.deploy("f", "")
    fingerprint = sha256(PAYLOAD).digest()
    busy, dead = (CallKey(tenant="default", namespace="default", function_name="f", key=key) for key in "bd")
    answer = KeptAnswer(
        request_id=UUID(int=7),
        output=b'"theirs"',
        error=None,
        duration_ms=1.0,
        cold_start=False,
        code_version="1",
        is_kept=True,
    )
    replies = []

    async def call() -> None:
        replies.append(await thin.invoke("f", payload=PAYLOAD, context=keyed("b")))

    async with connect(database.dsn("comet"), application="tests", max_size=2) as db:
        keys = CallKeys(db)
        token = await keys.claim(busy, fingerprint, lease_s=LEASE_S, ttl_s=60)
        assert token is not None
        assert await keys.claim(busy, fingerprint, lease_s=LEASE_S, ttl_s=60) is None
        lost = await keys.claim(dead, fingerprint, lease_s=0, ttl_s=60)
        assert lost is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.sleep(0.1)
            assert replies == []
            await keys.renew({busy: token}, lease_s=LEASE_S)
            assert await keys.answer(busy, token, answer, ttl_s=60)
        reply = await thin.invoke("f", payload=PAYLOAD, context=keyed("d"))
        assert not reply.replayed
        assert not await keys.answer(dead, lost, answer, ttl_s=60)  # it came back too late
        await keys.release(dead, lost)
        assert (await thin.invoke("f", payload=PAYLOAD, context=keyed("d"))).request_id == reply.request_id
    assert [(reply.output, reply.replayed) for reply in replies] == [(b'"theirs"', True)]


async def test_an_answer_that_is_too_large_is_not_kept_and_its_call_not_repeated(database, tmp_path):
    settings = Settings(idempotency=IdempotencySettings(max_answer_bytes=4))
    async with running(database, tmp_path / "state", script=Script(), settings=settings) as comet:
        await comet.deploy("f", "")
        first = await comet.invoke("f", "large", context=keyed("k"))
        with pytest.raises(RemoteProblem) as refused:
            await comet.invoke("f", "large", context=keyed("k"))
    assert (refused.value.code, refused.value.http_status) == ("idempotency_answer_not_kept", 409)
    assert refused.value.problem()["first_request_id"] == first.request_id


async def test_keys_are_checked_and_streams_take_none(thin):
    await thin.deploy("f", "")
    with pytest.raises(RemoteProblem) as refused:
        await thin.invoke("f", 1, context=keyed("k" * 257))
    assert (refused.value.http_status, refused.value.problem()["field"]) == (400, "idempotency-key")
    with pytest.raises(RemoteProblem) as refused:
        await thin.stream("f", 1, context=keyed("k"))
    assert (refused.value.http_status, refused.value.problem()["field"]) == (400, "Idempotency-Key")
    with pytest.raises(RemoteProblem) as unknown:
        await thin.invoke("none", 1, context=keyed("k"))
    assert unknown.value.code == "not_found"


async def test_an_answer_that_is_given_again_counts_for_its_callers_rate_once(thin):
    await thin.deploy("f", "")
    slow = {"rate_per_s": 0.001, "burst": 3}
    for key in ("a", "a", "b"):
        await thin.invoke("f", 1, context=keyed(key), **slow)
    with pytest.raises(RemoteProblem) as refused:
        await thin.invoke("f", 1, context=keyed("a"), **slow)
    assert refused.value.code == "rate_limited"
    await thin.deploy("f", "", halted=True)

    async def is_halted():
        try:
            await thin.invoke("f", 1, context=keyed("a"))
        except RemoteProblem as problem:
            return problem.code == "halted"
        return False

    await eventually(is_halted)


async def test_keys_go_with_their_function(thin):
    await thin.deploy("f", "")
    await thin.invoke("f", 1, context=keyed("k"))
    await thin.functions.delete("default", "default", "f")
    await thin.deploy("f", "")
    with anyio.fail_after(10):
        while True:  # the change arrives when it does
            try:
                reply = await thin.invoke("f", 1, context=keyed("k"))
                break
            except RemoteProblem:
                await anyio.sleep(0.02)
    assert not reply.replayed
