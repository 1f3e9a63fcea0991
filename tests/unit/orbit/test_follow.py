"""Following logs through breaks, and deploying on save."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import httpx
import msgspec
import pytest

from constellation.base.ids import uuid7
from constellation.client import ApiProblem, AsyncClient, LogBody
from constellation.orbit.commands import logs, source
from constellation.orbit.commands.logs import LogFollower
from constellation.orbit.output import Output
from constellation.orbit.session import Host, Session

pytestmark = pytest.mark.anyio
START = datetime(2030, 1, 1, tzinfo=UTC)


class Recorder(Output):
    """Keeps what would be printed, and says when there is enough."""

    def __init__(self, enough: int) -> None:
        super().__init__("json")
        self.records, self.notes, self.enough = [], [], enough
        self.is_full = anyio.Event()

    def record(self, value):
        self.records.append(value)
        if len(self.records) == self.enough:
            self.is_full.set()

    def note(self, text, style=""):
        self.notes.append(text)


def entry(number: int, status: str = "ok") -> LogBody:
    return LogBody(
        id=uuid7(),
        function="f",
        started_at=START + timedelta(seconds=number),
        duration_ms=1.0,
        status=status,
        error=None,
        log=str(number),
        log_truncated=False,
    )


def events(*entries: LogBody) -> httpx.Response:
    text = b"".join(b": ping\n\nevent: log\ndata: %s\n\n" % msgspec.json.encode(each) for each in entries)
    return httpx.Response(200, content=text, headers={"content-type": "text/event-stream"})


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(logs, "RETRY_S", (0.0,))


async def followed(answers, output: Recorder, **more) -> list[httpx.Request]:
    """Follow until `output` is full; each connection gets the next answer."""
    asked, left = [], list(answers)

    def handler(request):
        asked.append(request)
        answer = left.pop(0) if left else httpx.Response(503, content=b"{}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with AsyncClient("http://p.test", transport=httpx.MockTransport(handler)) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(LogFollower(output, client, "f", since=START, **more).run)
                await output.is_full.wait()
                tasks.cancel_scope.cancel()
    return asked


async def test_each_call_is_shown_once_through_breaks_of_the_connection():
    one, two, three = entry(1), entry(2), entry(3)
    output = Recorder(3)
    breaks = [httpx.ReadError("reset"), httpx.ReadTimeout("silence"), httpx.Response(503, content=b"{}")]
    asked = await followed([events(one), *breaks, events(one, two), events(two, three)], output)
    assert [record.log for record in output.records] == ["1", "2", "3"]
    assert [request.url.params["since"] for request in asked[:2]] == [
        START.isoformat(),
        one.started_at.isoformat(),
    ]
    assert len(output.notes) == 1  # an outage is told once, not at every try


async def test_calls_known_before_following_are_not_shown_again():
    one, two = entry(1), entry(2)
    output = Recorder(1)
    await followed([events(one, two)], output, seen=[one.id])
    assert [record.log for record in output.records] == ["2"]


async def test_only_failures_are_shown_when_only_they_are_wanted():
    output = Recorder(1)
    await followed([events(entry(1), entry(2, "timeout"))], output, is_failed=True)
    assert [record.log for record in output.records] == ["2"]


async def test_function_that_is_gone_ends_the_following():
    gone = httpx.Response(404, content=b'{"status": 404, "code": "not_found", "detail": "gone"}')
    transport = httpx.MockTransport(lambda _: gone)
    async with AsyncClient("http://p.test", transport=transport) as client:
        with pytest.raises(ApiProblem):
            await LogFollower(Recorder(1), client, "f", since=START).run()


async def test_saved_file_is_deployed_and_a_mistake_does_not_end_it(
    platform, work, tmp_path, anyio_backend_name, capsys
):
    if anyio_backend_name != "asyncio":
        pytest.skip("orbit runs on asyncio")
    (work / "main.py").write_text("def handler(event, context):\n    return 1\n")
    host = Host(
        env={},
        home=tmp_path,
        connect=lambda at: source_client(platform),
        connect_async=lambda at: AsyncClient("http://p.test", transport=platform.transport()),
    )
    session = Session(host, flags={}, profile=None)
    deployed = source._deploy(session, work, {"name": "f"})
    key = ("default", "default", "f")

    def save(text: str, name: str) -> None:
        (tmp_path / "saved").write_text(text)  # whole, since half a file would be deployed too
        (tmp_path / "saved").replace(work / name)

    async def version(wanted: int) -> None:
        while platform.functions[key].body.code_version < wanted:
            await anyio.sleep(0.05)

    save("def handler(event, context):\n    return 2\n", "main.py")  # before anybody watches
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(source._develop, session, work, {"name": "f"}, deployed.function.name))
            await version(2)
            said = ""
            save("memory_mb: lots\n", "function.yaml")
            while "memory_mb" not in said:
                await anyio.sleep(0.05)
                said += capsys.readouterr().err
            (work / "function.yaml").unlink()
            save("def handler(event, context):\n    return 3\n", "main.py")
            await version(3)
            tasks.cancel_scope.cancel()
    assert platform.functions[key].body.code_version == 3


def source_client(platform):
    from constellation.client import Client

    return Client("http://p.test", transport=platform.transport())
