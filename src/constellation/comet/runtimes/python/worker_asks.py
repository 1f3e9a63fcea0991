"""What a handler asks of the platform: `context.state`, `context.invoke`, `context.publish`, `context.steps`. Each ask is answered once.

Where calls come one at a time, the thread that asks reads the channel itself until its reply is there; with more, the
main thread reads for all.
"""

from __future__ import annotations

import inspect
import json
import queue
import threading

from worker_values import encode_error, encode_output
from worker_wire import ASK, PING, PONG, REPLY, STOP, field, fields

GET, PUT, DELETE, LIST, INVOKE, INVOKE_ASYNC, STEP, STEP_DONE, SLEEP, WAIT, PUBLISH, WAIT_MESSAGE = range(1, 13)
OP, NAME, KEY, VALUE, IF_VERSION, TTL_MS, FOR_MS, LIMIT, AFTER, SEQ, ERROR = range(2, 13)


class ConstellationError(Exception):
    """The platform did not do what was asked. `code` is stable: "not_found", "version_conflict", "recursion", …"""

    def __init__(self, facts):
        self.code, self.type = facts.get("code", "internal"), facts.get("type", "Error")
        self.message, self.stack = facts.get("message", ""), facts.get("stack", "")
        super().__init__(f"{self.type}: {self.message}" if self.stack else self.message)


class FunctionFailed(ConstellationError):
    """The function that was called raised: `type`, `message` and `stack` say what."""


class StepFailed(ConstellationError):
    """The step raised, now or in an earlier run: `type`, `message` and `stack` say what."""


class EventTimeout(ConstellationError):
    """No such event came in time."""


class Suspended(BaseException):
    """The execution waits, and this run of it ends here. Not to be caught: nothing that follows would count."""


_ERRORS = {"function_error": FunctionFailed, "step_failed": StepFailed, "timeout": EventTimeout}


class Asker:
    """Asks for all calls of one worker."""

    def __init__(self, channel, is_alone):
        self._channel, self._is_alone = channel, is_alone
        self._turn, self._last, self._replies = threading.Lock(), 0, {}
        self.was_used = self.is_stopped = False
        self.current = 0  # the call in hand when calls come one at a time

    def ask(self, call_id, op, *wanted):
        """Ask in a call; return the answer as JSON that was read, or raise."""
        self.was_used = True
        parts = [field(number, value) for number, value in wanted if value is not None]
        if self._is_alone:
            with self._turn:
                if call_id != self.current:
                    raise ConstellationError(
                        {"code": "call_ended", "message": "the call in which this was asked has ended"}
                    )
                ask_id = self._next()
                self._channel.send(ASK, call_id, field(1, ask_id) + field(OP, op) + b"".join(parts))
                answer = self._await(ask_id)
        else:
            with self._turn:
                ask_id = self._next()
                reply = self._replies[ask_id] = queue.SimpleQueue()
            self._channel.send(ASK, call_id, field(1, ask_id) + field(OP, op) + b"".join(parts))
            answer = reply.get()
        if 3 in answer:
            facts = json.loads(answer[3])
            if facts["code"] == "suspended":
                raise Suspended
            raise _ERRORS.get(facts["code"], ConstellationError)(facts)
        return json.loads(answer[2])

    def replied(self, body):
        """Hand a reply to the thread that waits for it."""
        answer = dict(fields(body))
        waiting = self._replies.pop(answer.get(1), None)
        if waiting is not None:
            waiting.put(answer)

    def settle(self):
        """Before a call is answered: wait for what threads of it still ask, so that one thread reads the channel again."""
        with self._turn:
            self.was_used = False

    def _next(self):
        self._last = self._last % 0xFFFFFFFF + 1
        return self._last

    def _await(self, ask_id):
        while True:
            kind, call_id, body = self._channel.receive()
            if kind == REPLY:
                answer = dict(fields(body))
                if answer.get(1) == ask_id:
                    return answer
            elif kind == PING:
                self._channel.send(PONG, call_id, body)
            elif kind == STOP:
                self.is_stopped = True


class Entry:
    """A value with its version, and when it goes (RFC 3339, or None)."""

    __slots__ = ("expires_at", "value", "version")

    def __init__(self, value, version, expires_at):
        self.value, self.version, self.expires_at = value, version, expires_at


class Keys:
    """A page of a list: iterate for `{"key", "version", "size_bytes", …}`; `next` is the `after` of the next page."""

    __slots__ = ("items", "next")

    def __init__(self, items, following):
        self.items, self.next = items, following

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)


class State:
    """Values under keys, kept between calls: the function's own, or those of `store(name)`, which its namespace shares."""

    __slots__ = ("_ask", "_name")

    def __init__(self, ask, name=None):
        self._ask, self._name = ask, name

    def store(self, name):
        return State(self._ask, name)

    def get(self, key, default=None):
        entry = self.entry(key)
        return default if entry is None else entry.value

    def entry(self, key):
        found = self._ask(GET, (NAME, self._name), (KEY, key))
        return None if found is None else Entry(found["value"], found["version"], found["expires_at"])

    def put(self, key, value, *, if_version=None, ttl_s=None):
        """Keep a value; return its version. `if_version=0`: only if the key is not there."""
        return self._ask(
            PUT,
            (NAME, self._name),
            (KEY, key),
            (VALUE, encode_output(value)),
            (IF_VERSION, if_version),
            (TTL_MS, None if ttl_s is None else max(1, int(ttl_s * 1000))),
        )["version"]

    def delete(self, key, *, if_version=None):
        """Delete a key; False when it was not there."""
        return self._ask(DELETE, (NAME, self._name), (KEY, key), (IF_VERSION, if_version))["deleted"]

    def list(self, prefix="", *, limit=100, after=""):
        found = self._ask(LIST, (NAME, self._name), (KEY, prefix), (LIMIT, limit), (AFTER, after))
        return Keys(found["items"], found["next"])


class Steps:
    """What a durable execution does once, whatever happens to it: steps are taken one after the other."""

    __slots__ = ("_ask",)

    def __init__(self, ask):
        self._ask = ask

    def run(self, name, function, *args):
        """Return what `function(*args)` returned when it ran first; awaitable when it is a coroutine function.

        Raises:
            StepFailed: it raised.
        """
        if inspect.iscoroutinefunction(function):
            return self._run_async(name, function, args)
        begun = self._ask(STEP, (NAME, name))
        if "seq" not in begun:
            return begun["output"]
        try:
            value = function(*args)
        except Exception as error:
            raise self._failed(begun, error) from error
        return self._done(begun, value)

    async def _run_async(self, name, function, args):
        begun = self._ask(STEP, (NAME, name))
        if "seq" not in begun:
            return begun["output"]
        try:
            value = await function(*args)
        except Exception as error:
            raise self._failed(begun, error) from error
        return self._done(begun, value)

    def sleep(self, seconds, name="sleep"):
        """Wait up to a year; nothing of the execution runs meanwhile."""
        self._ask(SLEEP, (NAME, name), (FOR_MS, int(seconds * 1000)))

    def wait_for_event(self, name, timeout=None):
        """Return the payload of the next event of this name.

        Raises:
            EventTimeout: none came within `timeout` seconds.
        """
        for_ms = None if timeout is None else max(1, int(timeout * 1000))
        return self._ask(WAIT, (NAME, name), (FOR_MS, for_ms))["payload"]

    def wait_for_message(self, topic, *, key=None, filter=None, timeout=None):  # as of a subscription
        """Return the next message of a topic as a function that subscribes to it gets it: `["data"]` is its payload.

        Messages count from the step before on, so what answers that step is not missed.

        Args:
            key: only a message with this one.
            filter: attribute to the text that it has, `{"prefix": …}` or a list of these.

        Raises:
            EventTimeout: none came within `timeout` seconds.
        """
        for_ms = None if timeout is None else max(1, int(timeout * 1000))
        wanted = None if filter is None else encode_output(filter)
        return self._ask(WAIT_MESSAGE, (NAME, topic), (KEY, key), (VALUE, wanted), (FOR_MS, for_ms))["message"]

    def _done(self, begun, value):
        raw = encode_output(value)
        self._ask(STEP_DONE, (SEQ, begun["seq"]), (VALUE, raw))
        return json.loads(raw)  # as a later run will have it

    def _failed(self, begun, error):
        raw = encode_error(error)
        self._ask(STEP_DONE, (SEQ, begun["seq"]), (ERROR, raw))
        return StepFailed(json.loads(raw) | {"code": "step_failed"})


def invoke(ask, name, payload, *, mode, timeout):
    """Call a function of the same namespace; see `Context.invoke`."""
    if mode not in ("sync", "async"):
        raise ValueError(f"mode must be 'sync' or 'async', not {mode!r}")
    wanted = [(NAME, name), (VALUE, encode_output(payload))]
    if mode == "async":
        return ask(INVOKE_ASYNC, *wanted)["id"]
    return ask(INVOKE, *wanted, (FOR_MS, None if timeout is None else max(1, int(timeout * 1000))))["output"]


def publish(ask, topic, payload, **facts):
    """Publish a message; see `Context.publish`."""
    message = {"payload": payload} | {name: fact for name, fact in facts.items() if fact is not None}
    return ask(PUBLISH, (NAME, topic), (VALUE, encode_output(message)))["id"]
