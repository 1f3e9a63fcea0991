"""Results of jobs on their way: written in the transaction that ends the job, so neither is there without the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from constellation.base.errors import ConstellationError
from constellation.base.ids import uuid7
from constellation.nova.domain.destination import SOURCE, Ended, envelope
from constellation.nova.domain.function import MAX_CALL_DEPTH
from constellation.nova.domain.job import NewJob
from constellation.nova.domain.message import NewMessage, Publisher
from constellation.nova.domain.quota import QuotaExceeded
from constellation.nova.domain.result_target import TargetKind
from constellation.nova.domain.topic import Subscription, Topic
from constellation.nova.store import waits
from constellation.nova.store.messages import SQL as MESSAGES
from constellation.nova.store.messages import deliver, keep, subscribed
from constellation.nova.store.pool import Session
from constellation.nova.store.queries import load
from constellation.nova.store.quotas import queue_limit, refuse_full
from constellation.nova.store.topics import SQL as TOPICS
from constellation.nova.store.topics import TopicNotFound

JOBS = load("jobs")


async def send(tx: Session, ended: Sequence[Ended]) -> tuple[NewJob, ...]:
    """Publish the results that go to topics, and return the jobs that take the others to their functions.

    What can not be sent (its topic is gone or has no room, or it lies too deep in a chain of calls) is told by a
    notification: the job has ended all the same, and keeps its result. A function that is gone has a dead job then.
    """
    deep = [each for each in ended if each.is_too_deep]
    for each in deep:
        await _lose(tx, each, f"the chain of calls and results is {MAX_CALL_DEPTH} deep")
    sent = [each for each in ended if not each.is_too_deep]
    # All take the locks of topics in one order, so that two can not hold them crosswise.
    to_topics = sorted((each for each in sent if each.destination.type is TargetKind.TOPIC), key=_place)
    for _, group in groupby(to_topics, key=_place):
        await _publish(tx, tuple(group))
    return tuple(_job(each) for each in sent if each.destination.type is TargetKind.FUNCTION)


def _place(each: Ended) -> tuple[object, ...]:
    """Return what those have in common that are published together: a topic, and who publishes."""
    return (
        each.job.tenant,
        each.job.namespace,
        each.destination.target,
        each.job.function_name,
        each.depth,
        each.chain,
    )


async def _publish(tx: Session, group: Sequence[Ended]) -> None:
    first = group[0]
    tenant, namespace, name = first.job.tenant, first.job.namespace, first.destination.target
    publisher = Publisher(subject=_subject(first), call_depth=first.depth, call_chain=first.chain)
    messages = [
        NewMessage(
            payload=envelope(each),
            key=each.job.function_name,
            attributes={"function": each.job.function_name, "outcome": each.outcome.value},
        )
        for each in group
    ]
    try:
        topic, subscriptions = await _room(tx, tenant, namespace, name, messages)
    except (TopicNotFound, QuotaExceeded) as error:
        await _lose_all(tx, group, error)
        return
    ids = sorted(uuid7() for _ in messages)
    kept = await keep(tx, topic, publisher, list(zip(messages, ids, strict=True)))
    await deliver(tx, topic, kept, subscriptions)
    await waits.answer(tx, topic, kept)


async def _room(
    tx: Session, tenant: str, namespace: str, name: str, messages: Sequence[NewMessage]
) -> tuple[Topic, Sequence[Subscription]]:
    await tx.fetch_value(MESSAGES["lock_shared"], tenant, namespace, name)
    row = await tx.fetch_row(TOPICS["get_topic"], tenant, namespace, name)
    if row is None:
        raise TopicNotFound(name)
    topic = Topic(**row)
    subscriptions = await subscribed(tx, topic)
    count = sum(each.takes(message.attributes) for message in messages for each in subscriptions)
    limit = await queue_limit(tx, tenant) if count else None
    await refuse_full(tx, tenant, count, max_depth=limit)
    return topic, subscriptions


def _job(each: Ended) -> NewJob:
    return NewJob(
        tenant=each.job.tenant,
        namespace=each.job.namespace,
        function_name=each.destination.target,
        payload=envelope(each),
        subject=_subject(each),
        source=f"{SOURCE}/{each.job.function_name}",
        call_depth=each.depth,
        call_chain=each.chain,
    )


def _subject(each: Ended) -> str:
    return f"function:{each.job.function_name}"


async def _lose_all(tx: Session, group: Iterable[Ended], error: ConstellationError) -> None:
    for each in group:
        await _lose(tx, each, str(error))


async def _lose(tx: Session, each: Ended, reason: str) -> None:
    detail = f"call {each.job.id} to {each.destination}: {reason}"
    await tx.execute(JOBS["lose_result"], each.job.tenant, each.job.namespace, each.job.function_name, detail)
