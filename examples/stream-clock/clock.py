import time
from datetime import datetime, timezone


def handler(event, context):
    """Yield the time, again and again: each piece is on its way to the caller while the next one is waited for."""
    ticks = int(event.get("ticks", 5))
    interval_s = float(event.get("interval_s", 1))
    for tick in range(1, ticks + 1):
        yield f"{tick}/{ticks} {datetime.now(timezone.utc).isoformat(timespec='milliseconds')}\n"
        if tick < ticks:
            # Better a short answer than one that is cut off at the deadline.
            if context.remaining_ms() < interval_s * 1000 + 500:
                yield "out of time\n"
                return
            time.sleep(interval_s)
