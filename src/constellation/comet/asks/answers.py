"""Who answers which operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from constellation.base.clock import Clock
from constellation.comet.asks.calls import CallAnswers
from constellation.comet.asks.desk import Answer
from constellation.comet.asks.publish import PublishAnswers
from constellation.comet.asks.question import Op
from constellation.comet.asks.state import StateAnswers
from constellation.comet.asks.steps import StepAnswers
from constellation.comet.executor.executor import Executor
from constellation.comet.publishing import Publishing
from constellation.nova.store.state import State
from constellation.nova.store.steps import Steps


def answers_of(
    executor: Executor,
    state: State,
    steps: Steps,
    publishing: Publishing,
    *,
    clock: Clock,
    max_steps: Callable[[str], int],
) -> Mapping[int, Answer]:
    """Return what answers each operation, by its number."""
    calls, stores = CallAnswers(executor), StateAnswers(state)
    record = StepAnswers(steps, clock=clock, max_steps=max_steps)
    return {
        Op.STATE_GET: stores.get,
        Op.STATE_PUT: stores.put,
        Op.STATE_DELETE: stores.delete,
        Op.STATE_LIST: stores.list,
        Op.INVOKE: calls.invoke,
        Op.INVOKE_ASYNC: calls.invoke_async,
        Op.STEP: record.begin,
        Op.STEP_DONE: record.end,
        Op.SLEEP: record.sleep,
        Op.WAIT: record.wait,
        Op.WAIT_MESSAGE: record.wait_for_message,
        Op.PUBLISH: PublishAnswers(publishing).publish,
    }
