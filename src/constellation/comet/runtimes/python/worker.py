"""The Python worker: reads exec frames, calls the handler, answers each with exactly one result or error frame.

It runs inside the sandbox with the standard library alone, forked from a zygote that imported it already. With one
call at a time the handler runs in the main thread; with more, in threads, or all on one event loop when it is async.

What draws random numbers is seeded anew after the fork (PyOS_AfterFork_Child, and OpenSSL and SQLite by the pid). The
seed of `hash(str)` and the address layout can not be: every dict that the zygote made depends on the one, every pointer
on the other. Instances share them with their zygote (README, "Not protected").
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import queue
import socket
import sys
import threading
import time
import types

import worker_asks
import worker_nursery
from worker_context import Context
from worker_orphans import Orphans
from worker_values import (
    PLAIN, decode_event, encode_chunk, encode_error, encode_output, listed, load_handler, prepare_import,
)  # fmt: skip
from worker_wire import (
    CANCEL, CHUNK, ERROR, EXEC, EXEC_HEAD, EXEC_STREAM, HEADER, HELLO, INIT, LOG_STDERR, NURSE, PING, PONG, PROTOCOL, READY, REPLY,
    RESULT, STOP, CallLog, Channel, Init, LogStream, field, places,
)  # fmt: skip

_READY = field(1, 1)
_HELLO = field(1, PROTOCOL) + field(2, "python") + field(3, ".".join(map(str, sys.version_info[:3])))
# What whoever imports this takes out of sys.modules again
OWN_MODULES = (
    "worker", "worker_asks", "worker_context", "worker_nursery", "worker_orphans", "worker_values", "worker_wire",
)  # fmt: skip
CODE_DIR = "/code"
_in_thread = contextvars.ContextVar("constellation_call", default=None)


class Worker:
    """Reads frames in the main thread and answers every exec frame with exactly one result or error frame.

    Made before the fork, where it costs no instance anything: `open` gives it its channel.
    """

    def __init__(self, channel, at_fork=os.register_at_fork):
        self._channel, self._at_fork = channel, at_fork
        self._streams, self._main = (LogStream(self, 0), LogStream(self, LOG_STDERR)), types.ModuleType("__main__")
        self._ambient = CallLog(self._channel, 0, 64 << 10)
        self._only = None  # the log of the call in hand when calls come one at a time
        self._loop, self._tasks, self._orphans = None, {}, Orphans()
        self._queue, self._threads, self._busy, self._count = queue.SimpleQueue(), 0, 0, threading.Lock()

    def open(self, fd):
        self._channel.open(fd)

    def log(self):
        return _in_thread.get() or self._only or self._ambient

    def serve(self, ct_fork):
        """Run until told to stop. True in what was forked from a nursery, where another worker is to serve."""
        self._channel.send(HELLO, 0, _HELLO)
        kind, _, body = self._channel.receive()
        if kind == NURSE:
            worker_nursery.serve(self._channel, body, ct_fork)
            return True
        if kind == STOP:
            return False
        if kind != INIT:
            self._leave(1)
        self._load(Init(body))
        receive, one, asker = self._channel.receive, self._init.concurrency <= 1, self._init.asker
        while True:
            kind, call_id, body = receive()
            if kind == EXEC:
                if one:
                    self._run_alone(call_id, body)
                    if asker.is_stopped:
                        return False
                elif self._is_async:
                    self._on_loop(self._run_async, call_id, body)
                else:
                    self._run_in_thread(call_id, body)
            elif kind == REPLY:
                asker.replied(body)
            elif kind == PING:
                self._channel.send(PONG, call_id, body)
            elif kind == CANCEL and self._loop is not None:
                self._loop.call_soon_threadsafe(self._cancel, call_id)
            elif kind == STOP:
                return False

    def _load(self, init):
        self._init = init
        init.asker = worker_asks.Asker(self._channel, init.concurrency <= 1)
        self._ambient = CallLog(self._channel, 0, init.log_limit_bytes)
        sys.stdout, sys.stderr = self._streams
        sys.path[:0] = places(init.code_dir, init.has_layers)
        sys.dont_write_bytecode = True  # /code is read-only: every attempt would cost a cold start its time
        sys.argv = [f"{init.code_dir}/{init.handler.partition('.')[0]}.py"]
        sys.modules["__main__"] = self._main
        self._at_fork(after_in_child=self._became_child)
        try:
            if init.env:
                os.environ.update(init.env)
                if "TZ" in init.env:
                    time.tzset()
            self._handler = load_handler(init)
        except SystemExit as error:
            self._leave(error.code)
        except BaseException as error:
            self._ambient.flush()
            self._channel.send(READY, 0, field(2, encode_error(error)))
            self._leave(1)
        self._is_async = init.concurrency > 1 and (
            inspect.iscoroutinefunction(self._handler) or inspect.isasyncgenfunction(self._handler)
        )
        self._ambient.flush()
        self._channel.send(READY, 0, _READY)

    def rehearse(self):
        """In a template, whose code is not there yet: load and call a handler, so that this process already has the
        pages that it takes to do so. Nothing of it is left for the function to find.
        """
        place, dont_write = "/tmp/rehearsal", sys.dont_write_bytecode
        path = place + "/rehearsal.py"
        os.mkdir(place)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"def handler(event, context):\n    return {'seen': event.get('name')}\n")
        os.close(fd)
        sys.path.insert(0, place)
        sys.dont_write_bytecode = True
        try:
            self._init = Init(field(1, "rehearsal.handler") + field(9, place) + field(8, field(1, "K") + field(2, "v")))
            self._init.asker = None
            self._handler = load_handler(self._init)
            body = EXEC_HEAD.pack(bytes(16), bytes(16), bytes(8), 1000, 0) + b'{"name": "x"}'
            self._outcome(1, body, self._own_loop)
        finally:
            self._init = self._handler = None
            sys.dont_write_bytecode = dont_write
            sys.path.remove(place)
            sys.path_importer_cache.pop(place, None)
            sys.modules.pop("rehearsal", None)
            os.unlink(path)
            os.rmdir(place)
        prepare_import()

    # one at a time, in the main thread

    def _run_alone(self, call_id, body):
        limit = self._ambient.left = self._init.log_limit_bytes
        log = self._only = CallLog(self._channel, call_id, limit)
        asker = self._init.asker
        asker.current = call_id
        kind, answer = self._outcome(call_id, body, self._own_loop)
        asker.current = 0  # first: a thread that asks from now on is refused, or is seen to have asked
        if asker.was_used:
            asker.settle()
        log.flush()
        self._only = None
        self._channel.send(kind, call_id, answer)
        self._orphans.reap()

    def _own_loop(self, awaitable):
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(awaitable)

    def _outcome(self, call_id, body, wait):
        """Call the handler and return the frame that ends the call; `wait` runs an awaitable to its end."""
        try:
            head = EXEC_HEAD.unpack_from(body)
            streamed = head[4] & EXEC_STREAM
            event = decode_event(body[EXEC_HEAD.size :]) if len(body) > EXEC_HEAD.size else None
            value = self._handler(event, Context(self._init, head, call_id))
            is_plain = type(value) in PLAIN
            if not is_plain and inspect.isawaitable(value):
                value = wait(_awaited(value))
            if is_plain and not streamed:
                return RESULT, encode_output(value)
            if inspect.isgenerator(value):
                pieces = value
            elif inspect.isasyncgen(value):
                pieces = _pull(value, wait)
            elif streamed:
                pieces = (value,)
            else:
                return RESULT, encode_output(value)
            if not streamed:
                return RESULT, encode_output([listed(piece) for piece in pieces])
            for piece in pieces:
                self._chunk(call_id, piece)
            return RESULT, b""
        except SystemExit as error:
            self._leave(error.code)
        except BaseException as error:
            return ERROR, encode_error(error)

    def _chunk(self, call_id, piece):
        raw = encode_chunk(piece)
        for at in range(0, len(raw), 1 << 20):
            self._channel.send(CHUNK, call_id, raw[at : at + (1 << 20)])

    # several at a time: sync handlers in threads

    def _run_in_thread(self, call_id, body):
        with self._count:
            self._busy += 1
            wanted = self._busy > self._threads
            self._threads += wanted
        self._queue.put((call_id, body))
        if wanted:
            try:
                threading.Thread(target=self._lane, name=f"call-{self._threads}", daemon=True).start()
            except RuntimeError as error:  # the sandbox's limits leave no room for another
                with self._count:
                    self._threads -= 1
                if self._threads == 0:
                    raise MemoryError("no thread can be started within this function's limits") from error

    def _lane(self):
        while True:
            call_id, body = self._queue.get()
            log = CallLog(self._channel, call_id, self._init.log_limit_bytes)
            _in_thread.set(log)
            kind, answer = self._outcome(call_id, body, self._in_loop_thread)
            log.flush()
            _in_thread.set(None)
            with self._count:
                self._busy -= 1
            self._channel.send(kind, call_id, answer)
            self._orphans.reap()

    # several at a time: async handlers on one loop in a thread of its own

    def _start_loop(self):
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="calls", daemon=True).start()
        return self._loop

    def _in_loop_thread(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self._start_loop()).result()

    def _on_loop(self, work, call_id, body):
        self._start_loop().call_soon_threadsafe(self._begin, work, call_id, body)

    def _begin(self, work, call_id, body):
        task = self._tasks[call_id] = self._loop.create_task(work(call_id, body))
        task.add_done_callback(lambda _: self._tasks.pop(call_id, None))

    def _cancel(self, call_id):
        task = self._tasks.get(call_id)
        if task is not None:
            task.cancel()

    async def _run_async(self, call_id, body):
        log = CallLog(self._channel, call_id, self._init.log_limit_bytes)
        _in_thread.set(log)
        kind, answer = RESULT, b""
        try:
            head = EXEC_HEAD.unpack_from(body)
            streamed = head[4] & EXEC_STREAM
            event = decode_event(body[EXEC_HEAD.size :]) if len(body) > EXEC_HEAD.size else None
            value = self._handler(event, Context(self._init, head, call_id))
            if not inspect.isasyncgen(value):
                value = await value
            if inspect.isasyncgen(value):
                gathered = []
                async for piece in value:
                    self._chunk(call_id, piece) if streamed else gathered.append(listed(piece))
                answer = b"" if streamed else encode_output(gathered)
            elif streamed:
                self._chunk(call_id, value)
            else:
                answer = encode_output(value)
        except SystemExit as error:
            self._leave(error.code)
        except BaseException as error:
            kind, answer = ERROR, encode_error(error)
        log.flush()
        self._channel.send(kind, call_id, answer)

    # ends

    def stop(self):
        while self._busy or self._tasks:
            time.sleep(0.005)
        self._leave(0)

    def _leave(self, code):
        """End the process as `sys.exit(code)` would."""
        for log in (_in_thread.get(), self._only, self._ambient):
            if log is not None:
                if code is not None and not isinstance(code, int):
                    log.write(f"{code}\n", LOG_STDERR)
                    code = 1
                log.flush()
        os._exit(0 if code is None else int(code) & 0xFF)

    def _became_child(self):
        self._channel.forsake()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


async def _awaited(value):
    return await value


def _pull(generator, wait):
    """Iterate an async generator from synchronous code."""
    while True:
        try:
            yield wait(_awaited(generator.__anext__()))
        except StopAsyncIteration:
            return


_REHEARSALS = 24  # chosen: several times what CPython 3.11 to 3.14 need to specialise
_made = []  # the worker of the next instance


def warm_up(at_fork, channel_type):
    """Run what every instance runs, in the zygote: the interpreter specialises the code before the children share it.

    What it would write in each child instead, it writes here once, and those pages stay shared. Nothing of it is left
    for a function to find.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    init = field(1, "hello.handler") + field(6, 128) + field(7, 1) + field(9, here) + field(10, 64 << 10)
    call = EXEC_HEAD.pack(bytes(16), bytes(16), bytes(8), 1000, 0) + b'{"name": "x", "list": [1, 2.5, null, true]}'
    kept = sys.stdout, sys.stderr, sys.argv, sys.path[:], sys.dont_write_bytecode, sys.modules["__main__"]
    try:
        for _ in range(_REHEARSALS):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                worker = Worker(channel_type(), at_fork=lambda after_in_child: None)
                worker.open(theirs.fileno())
                _is_template(here)
                for kind, body in ((INIT, init), (EXEC, call), (EXEC, call), (STOP, b"")):
                    ours.sendall(HEADER.pack(len(body), kind, 0, 0, 1) + body)
                worker.serve(None)
                print("line")
            del sys.modules["hello"]
    finally:
        sys.stdout, sys.stderr, sys.argv, sys.path[:], sys.dont_write_bytecode, sys.modules["__main__"] = kept
        sys.path_importer_cache.pop(here, None)
    _made.append(Worker(channel_type(), at_fork))
    prepare_import()


def main(fd, ct_fork=None):
    """Serve the channel `fd` for the rest of this process's life."""
    gc.enable()
    worker = _made.pop() if _made else Worker(Channel())
    worker.open(fd)
    if _is_template(CODE_DIR):
        worker.rehearse()
    if worker.serve(ct_fork):
        gc.enable()
        worker = Worker(ct_fork.Channel())
        worker.open(fd)
        worker.serve(None)
    worker.stop()


def _is_template(code_dir):
    """Its code is not there yet."""
    try:
        return not os.listdir(code_dir)
    except OSError:
        return False
