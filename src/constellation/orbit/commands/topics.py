"""Messages and who gets them: `topics`, `subscriptions` and `publish`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer
from msgspec import UNSET

from constellation.client import (
    DeliveryBody,
    MessageBody,
    Prefix,
    SubscriptionBody,
    SubscriptionCreate,
    SubscriptionUpdate,
    TopicBody,
    TopicCreate,
    TopicUpdate,
)
from constellation.orbit.commands.arguments import Agreed, event_of, id_of, pairs_of, since_of
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column, counted
from constellation.orbit.session import Session

app = typer.Typer(help="Topics that messages are published to.", no_args_is_help=True)
subscriptions = typer.Typer(help="Functions that get the messages of a topic.", no_args_is_help=True)

TopicName = Annotated[str, typer.Argument(metavar="TOPIC")]
Subscription = Annotated[str, typer.Argument(metavar="NAME", help="name of the subscription")]
Description = Annotated[str | None, typer.Option(help="what it is for")]
Retention = Annotated[int | None, typer.Option("--retention-hours", help="how long messages are kept", min=1, max=720)]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="ATTRIBUTE=TEXT",
        help="only messages whose attribute is this text, or begins so with a * behind it; several of one attribute are "
        "alternatives",
    ),
]
Attempts = Annotated[int | None, typer.Option("--max-attempts", help="before a delivery is dead", min=1, max=100)]
Limit = Annotated[int, typer.Option(min=1, max=10_000)]


@app.command("list")
def list_topics(context: typer.Context) -> None:
    """List topics."""
    output = Session.of(context).output
    columns = [
        Column[TopicBody]("NAME", lambda topic: topic.name),
        Column[TopicBody]("KEPT", lambda topic: f"{topic.retention_hours}h"),
        Column[TopicBody]("CREATED", lambda topic: output.age(topic.created_at)),
        Column[TopicBody]("DESCRIPTION", lambda topic: topic.description),
    ]
    output.rows(list(Session.of(context).client.list_topics()), columns, empty="There are no topics.")


@app.command("create")
def create_topic(
    context: typer.Context, name: TopicName, description: Description = None, retention: Retention = None
) -> None:
    """Create a topic."""
    session = Session.of(context)
    wanted = TopicCreate(name=name, description=description or "", retention_hours=retention or 168)
    made = session.client.create_topic(wanted)
    session.output.made(made, f"created {made.name}; messages are kept for {made.retention_hours} hours")


@app.command("get")
def get_topic(context: typer.Context, name: TopicName) -> None:
    """Show a topic."""
    session = Session.of(context)
    session.output.item(session.client.get_topic(name))


@app.command("update")
def update_topic(
    context: typer.Context, name: TopicName, description: Description = None, retention: Retention = None
) -> None:
    """Change what a topic is for, or how long its messages are kept."""
    if description is None and retention is None:
        raise OrbitError("nothing to change", hint="Give --description or --retention-hours.")
    session = Session.of(context)
    changes = TopicUpdate(
        description=UNSET if description is None else description,
        retention_hours=UNSET if retention is None else retention,
    )
    session.output.made(session.client.update_topic(name, changes), f"updated {name}")


@app.command("delete")
def delete_topic(context: typer.Context, name: TopicName, is_agreed: Agreed = False) -> None:
    """Delete a topic with its messages and subscriptions."""
    session = Session.of(context)
    count = len(list(session.client.list_topic_subscriptions(name)))
    session.confirm(f"Delete {name}, its messages and {counted(count, 'subscription')}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_topic(name), f"deleted {name}")


@app.command("messages")
def messages(
    context: typer.Context,
    name: TopicName,
    key: Annotated[str | None, typer.Option(help="only those with this key")] = None,
    limit: Limit = 50,
) -> None:
    """List messages of a topic, the newest first; -o json shows their payloads."""
    session = Session.of(context)
    output = session.output
    found = session.client.list_messages(name, key=key, page_size=min(limit, 500))
    columns = [
        Column[MessageBody]("ID", lambda message: message.id),
        Column[MessageBody]("KEY", lambda message: message.key or "-"),
        Column[MessageBody]("ATTRIBUTES", lambda message: " ".join(f"{k}={v}" for k, v in message.attributes.items())),
        Column[MessageBody]("PUBLISHER", lambda message: message.publisher),
        Column[MessageBody]("PUBLISHED", lambda message: output.age(message.published_at)),
    ]
    output.rows(list(islice(found, limit)), columns, empty="There are no messages.")


def publish(
    context: typer.Context,
    topic: TopicName,
    data: Annotated[str | None, typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="the payload")] = None,
    key: Annotated[str | None, typer.Option(help="what it is about")] = None,
    attributes: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", metavar="NAME=TEXT", help="a text that filters look at")
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="repetitions with the same one are one message")] = None,
) -> None:
    """Publish a message to a topic."""
    session = Session.of(context)
    published = session.client.publish(
        topic, event_of(data), key=key, attributes=pairs_of(attributes or []), idempotency_key=idempotency_key
    )
    told = "was published before" if published.duplicate else f"goes to {counted(published.deliveries, 'subscription')}"
    session.output.made(published, f"{published.id} {told}")


@subscriptions.command("list")
def list_subscriptions(
    context: typer.Context,
    topic: Annotated[str | None, typer.Argument(metavar="[TOPIC]", help="only of this topic")] = None,
    function: Annotated[str | None, typer.Option(help="only of this function")] = None,
) -> None:
    """List subscriptions."""
    session = Session.of(context)
    client = session.client
    found = (
        client.list_subscriptions(function=function)
        if topic is None
        else client.list_topic_subscriptions(topic, function=function)
    )
    columns = [
        Column[SubscriptionBody]("NAME", lambda each: each.name),
        Column[SubscriptionBody]("TOPIC", lambda each: each.topic),
        Column[SubscriptionBody]("FUNCTION", lambda each: each.function),
        Column[SubscriptionBody]("STATE", _state),
        Column[SubscriptionBody]("FILTER", lambda each: " ".join(map(str, each.filter)) or "-"),
    ]
    session.output.rows(list(found), columns, empty="There are no subscriptions.")


@subscriptions.command("create")
def create_subscription(
    context: typer.Context,
    name: Subscription,
    topic: Annotated[str, typer.Option(help="whose messages")],
    function: Annotated[str, typer.Option(metavar="NAME[:VERSION|:ALIAS]", help="that is called with them")],
    filters: Filters = None,
    max_attempts: Attempts = None,
) -> None:
    """Call a function with each message of a topic from now on."""
    session = Session.of(context)
    wanted = SubscriptionCreate(
        name=name, function=function, filter=_conditions(filters or []), max_attempts=max_attempts or 3
    )
    made = session.client.create_subscription(topic, wanted)
    session.output.made(made, f"created {made.name}: {made.function} gets the messages of {made.topic}")


@subscriptions.command("get")
def get_subscription(context: typer.Context, name: Subscription) -> None:
    """Show a subscription, and how its deliveries stand."""
    session = Session.of(context)
    session.output.item(session.client.get_subscription(name))


@subscriptions.command("update")
def update_subscription(
    context: typer.Context,
    name: Subscription,
    function: Annotated[
        str | None, typer.Option(metavar="NAME[:VERSION|:ALIAS]", help="that is called from now on")
    ] = None,
    filters: Filters = None,
    max_attempts: Attempts = None,
    is_enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="get messages, or let them pass by")
    ] = None,
) -> None:
    """Change a subscription; deliveries that are on their way stay as they are."""
    session = Session.of(context)
    changes = SubscriptionUpdate(
        function=UNSET if function is None else function,
        filter=UNSET if filters is None else _conditions(filters),
        max_attempts=UNSET if max_attempts is None else max_attempts,
        enabled=UNSET if is_enabled is None else is_enabled,
    )
    if changes == SubscriptionUpdate():
        raise OrbitError("nothing to change", hint="`orbit subscriptions update --help` shows what can be.")
    session.output.made(session.client.update_subscription(name, changes), f"updated {name}")


@subscriptions.command("pause")
def pause(context: typer.Context, name: Subscription) -> None:
    """Let deliveries wait until the subscription is resumed."""
    session = Session.of(context)
    session.output.made(session.client.pause_subscription(name), f"paused {name}")


@subscriptions.command("resume")
def resume(context: typer.Context, name: Subscription) -> None:
    """Let deliveries go on."""
    session = Session.of(context)
    session.output.made(session.client.resume_subscription(name), f"resumed {name}")


@subscriptions.command("delete")
def delete_subscription(context: typer.Context, name: Subscription, is_agreed: Agreed = False) -> None:
    """Delete a subscription with its deliveries that have not succeeded."""
    session = Session.of(context)
    session.confirm(f"Delete {name} and its deliveries that have not succeeded?", is_agreed=is_agreed)
    session.output.made(session.client.delete_subscription(name), f"deleted {name}")


@subscriptions.command("deliveries")
def deliveries(
    context: typer.Context,
    name: Subscription,
    status: Annotated[str | None, typer.Option(help="queued, running, paused, succeeded or dead")] = None,
    message: Annotated[str | None, typer.Option(help="only those of this message")] = None,
    limit: Limit = 50,
) -> None:
    """List deliveries, the newest first; `orbit async get ID` shows one with its event and its result."""
    session = Session.of(context)
    output = session.output
    found = session.client.list_deliveries(
        name, status=status, message=None if message is None else id_of(message), page_size=min(limit, 500)
    )
    columns = [
        Column[DeliveryBody]("ID", lambda each: each.id),
        Column[DeliveryBody]("MESSAGE", lambda each: each.message_id),
        Column[DeliveryBody]("STATUS", lambda each: each.status),
        Column[DeliveryBody]("TRIES", lambda each: f"{each.attempt}/{each.max_attempts}"),
        Column[DeliveryBody]("CREATED", lambda each: output.age(each.created_at)),
        Column[DeliveryBody]("NEXT TRY", lambda each: output.age(each.run_at) if each.status == "queued" else "-"),
    ]
    output.rows(list(islice(found, limit)), columns, empty="There are no deliveries.")


@subscriptions.command("retry")
def retry(context: typer.Context, name: Subscription) -> None:
    """Begin every dead delivery again."""
    session = Session.of(context)
    done = session.client.redrive_subscription(name)
    session.output.made(done, f"queued {counted(done.retried, 'message')} again")


@subscriptions.command("replay")
def replay(
    context: typer.Context,
    name: Subscription,
    since: Annotated[str, typer.Option(help="a period such as 2h, or an RFC 3339 instant")],
    until: Annotated[str | None, typer.Option(help="likewise; now when absent")] = None,
) -> None:
    """Deliver what was published in a time once more, as far as the filter takes it."""
    session = Session.of(context)
    now = session.output.now()
    first, last = since_of(since, now), since_of(until, now) or now
    assert first is not None
    total, after = 0, None
    while True:
        page = session.client.replay_subscription(name, first, until=last, after=after)
        total += page.replayed
        after = page.next
        if after is None:
            break
    session.output.made({"replayed": total}, f"replayed {counted(total, 'message')}")


def _state(subscription: SubscriptionBody) -> str:
    if not subscription.enabled:
        return "disabled"
    return "paused" if subscription.paused else "enabled"


def _conditions(texts: Sequence[str]) -> dict[str, str | Prefix | list[str | Prefix]]:
    """Return the filter that several "ATTRIBUTE=TEXT" mean; a * at the end makes the text a prefix."""
    alternatives: dict[str, list[str | Prefix]] = {}
    for text in texts:
        ((name, value),) = pairs_of([text]).items()
        one = Prefix(prefix=value[:-1]) if value.endswith("*") and value != "*" else value
        alternatives.setdefault(name, []).append(one)
    return {name: each[0] if len(each) == 1 else each for name, each in alternatives.items()}
