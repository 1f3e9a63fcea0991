"""The executor inside another plane's process: the Protocol of the gRPC client without gRPC."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from constellation.aurora.observability.plane import new_context
from constellation.base.errors import ConstellationError, Unauthenticated
from constellation.base.ids import RequestId, uuid7
from constellation.comet.local import LocalInvoker, local_executor
from constellation.nova.config.load import Loaded
from constellation.nova.config.sections import PlatformSettings, PostgresSettings, Settings
from constellation.nova.domain.access import ROLE_PERMISSIONS, Identity, Role
from constellation.nova.domain.function import Function
from constellation.nova.domain.identity import mint
from constellation.nova.store.functions import Functions
from constellation.nova.store.jobs import Jobs
from constellation.rpc.invoker import AsyncOptions
from constellation.rpc.metadata import CallContext

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.sandbox, pytest.mark.slow]

CODE = "def handler(event, context):\n    if event == 'raise':\n        raise ValueError('no')\n    return event\n"


def token(key: bytes = b"key") -> str:
    identity = Identity(
        tenant="default",
        namespace="default",
        subject="schedule:1",
        permissions=ROLE_PERMISSIONS[Role.INVOKER],
        is_platform_admin=False,
        expires_at_s=int(time.time()) + 600,
    )
    return mint(key, identity)


def context() -> CallContext:
    return CallContext(request_id=RequestId(uuid7()), source="schedule")


@pytest.fixture
async def invoker(database, db, tmp_path) -> AsyncIterator[LocalInvoker]:
    row = Function(
        tenant="default",
        namespace="default",
        name="f",
        id=uuid7(),
        runtime="python",
        handler="main.handler",
    )
    await Functions(db).create(row, {"main.py": CODE.encode()})
    plane = new_context(
        "nebula", PlatformSettings(), state_dir=tmp_path / "state", service_token="t", identity_key="key"
    )
    async with local_executor(
        plane, Loaded(settings=Settings(postgres=PostgresSettings(dsn=database.dsn("comet"))))
    ) as made:
        yield made


async def test_calls_are_answered_as_over_grpc(invoker, db):
    answer = await invoker.invoke("f", b'{"n":1}', token=token(), context=context(), timeout_s=30)
    assert (answer.output, answer.error, answer.cold_start, answer.version) == (b'{"n":1}', None, True, "1")
    answer = await invoker.invoke("f", b'"raise"', token=token(), context=context(), timeout_s=30)
    assert answer.output is None
    assert b"ValueError" in answer.error
    with pytest.raises(ConstellationError) as refused:
        await invoker.invoke("missing", b"1", token=token(), context=context(), timeout_s=30)
    assert refused.value.code == "not_found"
    with pytest.raises(Unauthenticated):
        await invoker.invoke("f", b"1", token=token(b"another"), context=context(), timeout_s=30)
    options = AsyncOptions(idempotency_key="k")
    first, second = [
        await invoker.invoke_async("f", b"1", token=token(), context=context(), options=options, timeout_s=30)
        for _ in range(2)
    ]
    assert (first.id, first.is_replay, second.is_replay) == (second.id, False, True)
    [job] = (await Jobs(db).list("default", "default")).items
    assert (str(job.id), job.subject, job.source) == (first.id, "schedule:1", "api")
