"""Steps that wait for a message of a topic, as who publishes sees them: the message that ends one is committed with its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from constellation.nova.domain.execution import MAX_WAITING, MessageWait, Run, WaitsFull
from constellation.nova.domain.message import Message, envelope
from constellation.nova.domain.topic import Topic
from constellation.nova.store.pool import Session
from constellation.nova.store.queries import load
from constellation.nova.store.topics import filter_of, filter_text, message_of

SQL = load("waits")

MISSED_BATCH = 100  # chosen: messages that a step looks at together, when it begins to wait
MISSED_BATCHES = 100  # chosen: more than this many messages in a row that are not meant are not looked behind
_FIRST = UUID(int=0)


class _Taken(msgspec.Struct):
    """What of a message's envelope says where it stood in its topic."""

    id: UUID
    time: datetime


async def answer(tx: Session, topic: Topic, messages: Sequence[Message]) -> bool:
    """End the steps that wait for one of these messages with the first that they take; say whether there are any.

    The transaction holds the topic's lock, so whoever begins to wait sees these messages, or is seen.
    """
    rows = await tx.fetch(SQL["waiting"], topic.tenant, topic.id, list({message.key for message in messages}))
    ends: dict[tuple[UUID, int], Message] = {}
    for row in rows:
        wait = MessageWait(key=row["message_key"], filter=filter_of(row["filter"]))
        first = next((message for message in messages if wait.takes(message)), None)
        if first is not None:
            ends[row["execution_id"], row["seq"]] = first
    if not ends:
        return False
    wanted = {execution_id for execution_id, _ in ends}
    living = {row["id"] for row in await tx.fetch(SQL["lock_jobs"], topic.tenant, sorted(wanted))}
    if wanted - living:
        await tx.execute(SQL["release"], topic.tenant, list(wanted - living))
    ended = [(*place, envelope(topic.name, message)) for place, message in ends.items() if place[0] in living]
    if not ended:
        return False
    await tx.fetch(SQL["answer"], topic.tenant, *map(list, zip(*ended, strict=True)))
    await tx.execute(SQL["wake"], topic.tenant, sorted(living))
    return True


async def begin(tx: Session, run: Run, seq: int, kind: str, topic: Topic, wait: MessageWait, *, seconds: float) -> None:
    """Write that a step waits for a message of a topic, whose lock is held alone.

    Raises:
        WaitsFull
    """
    if wait.key is None and await tx.fetch_value(SQL["count"], topic.tenant, topic.id, MAX_WAITING) >= MAX_WAITING:
        raise WaitsFull(topic.name)
    place = (*run.key, seq, kind, topic.name, seconds)
    await tx.execute(SQL["wait"], *place, topic.id, wait.key, filter_text(wait.filter))


async def missed(tx: Session, run: Run, seq: int, topic: Topic, wait: MessageWait) -> bytes | None:
    """Return the message that came before the step began to wait: the oldest of those that may be meant."""
    since, behind = await _since(tx, run, seq)
    after = _FIRST
    for _ in range(MISSED_BATCHES):
        window = (topic.tenant, topic.id, since, behind, wait.key, after, MISSED_BATCH)
        page = [message_of(row) for row in await tx.fetch(SQL["missed"], *window)]
        found = next((message for message in page if wait.takes(message)), None)
        if found is not None:
            return envelope(topic.name, found)
        if len(page) < MISSED_BATCH:
            return None
        after = page[-1].id
    return None


async def _since(tx: Session, run: Run, seq: int) -> tuple[datetime, UUID]:
    row = await tx.fetch_row(SQL["since"], *run.key, seq)
    assert row is not None  # the run is held
    if row["output"] is not None:
        taken = msgspec.json.decode(row["output"], type=_Taken)
        return taken.time, taken.id
    return row["finished_at"] or row["created_at"], _FIRST
