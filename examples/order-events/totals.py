"""Adds up what is sold: called with each message of the topic `orders`, at least once; the store knows which it had."""


def handler(event, context):
    order, day = event["data"], event["time"][:10]
    totals = context.state.store("totals")
    while True:
        entry = totals.entry(day)
        book = entry.value if entry else {"cents": 0, "messages": []}
        if event["id"] in book["messages"]:  # delivered before
            return book["cents"]
        book = {"cents": book["cents"] + order["cents"], "messages": [*book["messages"], event["id"]]}
        try:
            totals.put(day, book, if_version=entry.version if entry else 0, ttl_s=40 * 86_400)
        except Exception as error:
            if getattr(error, "code", None) != "version_conflict":
                raise
            continue
        if order["cents"] >= 100_000:
            context.publish("large-orders", order, key=event["subject"])
        return book["cents"]
