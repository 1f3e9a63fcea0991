"""A durable workflow. Each step runs once and its result is kept; between them the order may wait for days, and every
process of the platform may be killed.
"""

SHELF = {"teapot": 10}  # what a new shop has


def handler(event, context):
    order, item, count = event["order"], event["item"], event["count"]
    stock = context.state.store("stock")  # shared by all functions of the namespace
    steps = context.steps

    left = steps.run("reserve", take, stock, order, item, count)
    try:
        payment = steps.wait_for_event("paid", timeout=event["pay_within_s"])
    except Exception as error:
        if getattr(error, "code", None) != "timeout":
            raise
        steps.run("give back", give_back, stock, order, item, count)
        return {"order": order, "status": "not paid in time"}
    steps.sleep(event["pack_s"], "pack")
    label = steps.run("ship", ship, order, context)
    return {"order": order, "status": "shipped", "receipt": payment["receipt"], "label": label, "left": left}


def take(stock, order, item, count):
    return book(stock, order, item, -count)


def give_back(stock, order, item, count):
    return book(stock, f"{order}/back", item, count)


def book(stock, entry, item, change):
    """Change a shelf once for each entry: a step that was cut off runs again, and must not book twice."""
    while True:
        shelf = stock.entry(item)
        books = shelf.value if shelf else {"left": SHELF[item], "booked": []}
        if entry in books["booked"]:
            return books["left"]
        left = books["left"] + change
        if left < 0:
            raise ValueError(f"there are only {books['left']} of {item}")
        try:
            stock.put(
                item, {"left": left, "booked": [*books["booked"], entry]}, if_version=shelf.version if shelf else 0
            )
        except Exception as error:
            if getattr(error, "code", None) != "version_conflict":
                raise
        else:
            return left


def ship(order, context):
    print("shipped", order)
    return f"label-{order}"
