"""The steps of one run: one after the other, answered from the record, and what ends the run whatever the handler does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from constellation.base.clock import SystemClock
from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.base.ids import uuid7
from constellation.comet.asks.question import Failed, Question
from constellation.comet.asks.steps import NotDurable, RunSuspended, StepAnswers, StepOpen, StepsFull, StepTooLarge
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.executor.budget import Budget
from constellation.comet.executor.turn import Turn
from constellation.nova.domain.execution import Run, Step, StepKind, StepsDiverged
from constellation.nova.store.pool import DatabaseUnavailable
from constellation.wire.gen import agent_pb2

pytestmark = pytest.mark.anyio

SPEC = InstanceSpec(
    tenant="t",
    namespace="n",
    function_id=uuid7(),
    function_name="f",
    function_version="1",
    runtime="python",
    handler="main.handler",
    code_dir=Path("/code"),
)
NOW = SystemClock().now()


class Record:
    """What `Steps` keeps, in memory; a wait is never over."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.is_away = False

    async def recorded(self, run: Run) -> int:
        assert run.token
        return len(self.steps)

    async def get(self, run: Run, seq: int) -> Step | None:
        assert run.token
        return self.steps[seq]

    async def record(
        self, run: Run, seq: int, name: str, *, output: bytes | None, error: bytes | None, took_s: float
    ) -> None:
        if self.is_away:
            raise DatabaseUnavailable(reason="it restarts")
        assert run.token
        assert (seq, took_s >= 0) == (len(self.steps), True)
        self.steps.append(step(seq, name, output=output, error=error))

    async def wait(self, run: Run, seq: int, kind: StepKind, name: str, *, seconds: float) -> Step | None:
        assert run.token
        assert (seq, seconds > 0, bool(name)) == (len(self.steps), True, True)
        assert kind is not StepKind.RUN
        return None


def step(seq: int, name: str, *, output: bytes | None = None, error: bytes | None = None) -> Step:
    return Step(
        seq=seq,
        kind=StepKind.RUN,
        name=name,
        due_at=None,
        output=output,
        error=error,
        started_at=NOW,
        finished_at=NOW,
        is_due=False,
    )


class Rig:
    def __init__(self, *steps: Step, max_steps: int = 10) -> None:
        self.record = Record(*steps)
        self.answers = StepAnswers(self.record, clock=SystemClock(), max_steps=lambda _tenant: max_steps)
        self.turn = Turn(Run(tenant="t", execution_id=uuid7(), token=1))

    def asked(self, turn: Turn | None = None, **fields: object) -> Question:
        return Question(
            spec=SPEC,
            ask=agent_pb2.Ask(id=1, **fields),
            budget=Budget(1e9, 30),
            depth=0,
            chain=(),
            traceparent="",
            turn=turn or self.turn,
        )

    async def begin(self, name: str) -> dict[str, object]:
        return json.loads(await self.answers.begin(self.asked(name=name)))

    async def run(self, name: str, value: bytes) -> None:
        begun = await self.begin(name)
        await self.answers.end(self.asked(seq=begun["seq"], value=value))


async def test_what_is_on_record_is_not_run_again_and_what_follows_is() -> None:
    rig = Rig(step(0, "one", output=b"1"), step(1, "two", error=b'{"type":"E","message":"m","stack":""}'))
    assert await rig.begin("one") == {"output": 1}
    with pytest.raises(Failed) as told:
        await rig.begin("two")
    assert told.value.code == "step_failed"
    await rig.run("three", b"[3]")
    assert [(each.name, each.output) for each in rig.record.steps[2:]] == [("three", b"[3]")]


async def test_a_step_within_a_step_or_beside_it_is_refused() -> None:
    rig = Rig()
    begun = await rig.begin("outer")
    for another in (rig.answers.begin, rig.answers.sleep, rig.answers.wait):
        with pytest.raises(StepOpen, match="'outer' is not done"):
            await another(rig.asked(name="inner", for_ms=1))
    with pytest.raises(InvalidRequest):
        await rig.answers.end(rig.asked(seq=7, value=b"1"))
    await rig.answers.end(rig.asked(seq=begun["seq"], value=b"1"))
    with pytest.raises(InvalidRequest):
        await rig.answers.end(rig.asked(seq=begun["seq"], value=b"1"))


async def test_another_step_than_the_recorded_one_ends_the_run_for_good() -> None:
    rig = Rig(step(0, "one", output=b"1"))
    with pytest.raises(StepsDiverged):
        await rig.begin("other")
    assert isinstance(rig.turn.failure, StepsDiverged)
    with pytest.raises(StepsDiverged):
        await rig.begin("one")


async def test_after_a_wait_the_run_is_over_whatever_the_handler_does() -> None:
    rig = Rig()
    with pytest.raises(RunSuspended):
        await rig.answers.sleep(rig.asked(name="nap", for_ms=1000))
    assert rig.turn.is_suspended
    for another in (rig.answers.begin, rig.answers.wait):
        with pytest.raises(RunSuspended):
            await another(rig.asked(name="next", for_ms=1))


async def test_a_record_that_can_not_be_written_ends_the_run_for_another_to_go_on() -> None:
    rig = Rig()
    begun = await rig.begin("one")
    rig.record.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await rig.answers.end(rig.asked(seq=begun["seq"], value=b"1"))
    assert isinstance(rig.turn.failure, DatabaseUnavailable)
    assert rig.turn.failure.retryable


async def test_steps_have_a_bound_each_and_all() -> None:
    rig = Rig(max_steps=1)
    await rig.run("one", b"1")
    with pytest.raises(StepsFull):
        await rig.begin("two")
    large = Rig()
    begun = await large.begin("one")
    with pytest.raises(StepTooLarge):
        await large.answers.end(large.asked(seq=begun["seq"], value=b'"' + b"x" * (256 << 10) + b'"'))
    for full, error in ((rig, StepsFull), (large, StepTooLarge)):
        assert isinstance(full.turn.failure, error)


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"name": "x" * 129}, {"name": "a\nb"}, {"name": "s", "for_ms": 367 * 86_400_000}]
)
async def test_a_step_that_can_not_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        await Rig().answers.sleep(Rig().asked(**fields))


async def test_outside_of_an_execution_there_are_no_steps() -> None:
    rig = Rig()
    plain = Question(
        spec=SPEC,
        ask=agent_pb2.Ask(id=1, name="s"),
        budget=Budget(1e9, 30),
        depth=0,
        chain=(),
        traceparent="",
        turn=None,
    )
    for answer in (rig.answers.begin, rig.answers.end, rig.answers.sleep, rig.answers.wait):
        with pytest.raises(NotDurable):
            await answer(plain)
    assert issubclass(NotDurable, ConstellationError)
