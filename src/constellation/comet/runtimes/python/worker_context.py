"""The second argument of a handler: facts of the call, its log, and what the platform does for it."""

from __future__ import annotations

import functools
import logging
import sys
import time

import worker_asks


class Trace:
    """The W3C trace context of one call."""

    __slots__ = ("span_id", "trace_id")

    def __init__(self, trace_id, span_id):
        self.trace_id, self.span_id = trace_id.hex(), span_id.hex()

    @property
    def traceparent(self):
        return f"00-{self.trace_id}-{self.span_id}-01"


@functools.cache
def _logger():
    # Made when first asked for: a fifth of a millisecond that a cold start need not pay.
    logger = logging.getLogger("function")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


class Context:
    """The second argument of a handler. `deadline` is in Unix seconds."""

    __slots__ = ("_asker", "_call_id", "_head", "_init", "_until", "deadline")

    def __init__(self, init, head, call_id):
        # Most handlers ask for little of it: but for the time, all is worked out when it is asked for.
        self._init, self._head, self._call_id, self._asker = init, head, call_id, init.asker
        remaining_s = head[3] / 1000
        self._until = time.monotonic() + remaining_s
        self.deadline = time.time() + remaining_s

    @property
    def request_id(self):
        digits = self._head[0].hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    @property
    def function_name(self):
        return self._init.function_name

    @property
    def function_version(self):
        return self._init.function_version

    @property
    def tenant(self):
        return self._init.tenant

    @property
    def namespace(self):
        return self._init.namespace

    @property
    def memory_limit_mb(self):
        return self._init.memory_limit_mb

    @property
    def trace(self):
        return Trace(self._head[1], self._head[2])

    @property
    def logger(self):
        """A logger whose records go to the log of the call."""
        return _logger()

    @property
    def state(self):
        """Values kept between calls (`worker_asks.State`)."""
        return worker_asks.State(self._ask)

    @property
    def steps(self):
        """What a durable execution does once (`worker_asks.Steps`)."""
        return worker_asks.Steps(self._ask)

    def invoke(self, name, payload=None, *, mode="sync", timeout=None):
        """Call a function of the same namespace: its output, or with mode="async" the id of the job.

        Raises:
            FunctionFailed: it raised.
            ConstellationError: it was not run, or did not answer within `timeout` seconds.
        """
        return worker_asks.invoke(self._ask, name, payload, mode=mode, timeout=timeout)

    def publish(self, topic, payload=None, *, key=None, attributes=None, idempotency_key=None):
        """Publish a message to a topic of the same namespace; it is committed when its id is returned.

        Args:
            key: what the message is about.
            attributes: texts by name, which filters of subscriptions look at.
            idempotency_key: repetitions with the same one publish nothing new for a day, and return the first id.

        Raises:
            ConstellationError: "topic_not_found", "payload_too_large" above 256 KiB, "message_loop", …
        """
        return worker_asks.publish(
            self._ask, topic, payload, key=key, attributes=attributes, idempotency_key=idempotency_key
        )

    def _ask(self, *wanted):
        return self._asker.ask(self._call_id, *wanted)

    def remaining_ms(self):
        """Milliseconds until the platform ends this call; never below 0."""
        return max(0, int((self._until - time.monotonic()) * 1000))
