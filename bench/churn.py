"""Calls that each need a new instance: more functions than a node may hold instances, called by turns.

Some of the functions are well behaved. The others leave behind what functions leave behind: background processes,
files, shared memory, sockets; they exit, outlive their deadline, do not load, or lose their caller.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from http1 import Answer, BadAnswer, Broken, Connection, request_bytes, target_of
from rig import Rig

CALLERS = 6
RECONNECT_S = 0.02
AWAY_S = 0.1  # while comet starts again; asking faster only delays it
HANG_UP_S = 0.03
TIMEOUT_S = 30.0
UPDATE_EVERY, ASYNC_EVERY = 100, 25  # calls

PLAIN = "import tempfile\ndef handler(event, context):\n    print('called')\n    return event\n"
MESSY = """
import ctypes, multiprocessing, os, socket, subprocess, tempfile, threading, time
def handler(event, context):
    subprocess.Popen(['sleep', '1000'], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(1000)
    tempfile.NamedTemporaryFile(delete=False).write(bytes(1 << 20))
    with open('/dev/shm/left', 'wb') as file:
        file.write(bytes(1 << 20))
    ctypes.CDLL(None).shmget(4711, 1 << 16, 0o1600)
    globals()['left'] = [socket.create_server(('127.0.0.1', 0)), os.pipe(), os.memfd_create('left')]
    return event
"""
NODE = "exports.handler = async (event) => event;\n"
REACHES = """
import socket
def handler(event, context):
    for place in (("192.0.2.1", 80), ("localhost.test", 80)):
        try:
            socket.create_connection(place, timeout=0.05)
        except OSError:
            pass
    return event
"""
NETWORK = {"egress": "allow-list", "allow": [{"cidr": "192.0.2.0/24"}, {"host": "localhost.test"}]}
IS_ROOT = os.geteuid() == 0
FUNCTIONS = {
    **{f"plain-{number}": ("python", PLAIN, {}) for number in range(18)},
    **{f"messy-{number}": ("python", MESSY, {}) for number in range(3)},
    "exits": ("python", "import os\ndef handler(event, context):\n    os._exit(3)\n", {}),
    "sleeps": ("python", "import time\ndef handler(event, context):\n    time.sleep(60)\n", {"timeout_s": 0.2}),
    "does-not-load": ("python", "raise RuntimeError('no')\n", {}),
    "loses-its-caller": ("python", "import time\ndef handler(event, context):\n    time.sleep(60)\n", {}),
    "node": ("node", NODE, {}),
    **({f"reaches-{number}": ("python", REACHES, {"network": NETWORK}) for number in range(4)} if IS_ROOT else {}),
}
# Every one of these answers means that an instance was made, and is gone or will be.
_ENDS = {"instance_died", "timeout", "handler_load_failed"}


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the calls came to."""

    cycles: int = 0  # instances made, called and (by now or soon) destroyed
    answers: Counter[str] = field(default_factory=Counter)
    updates: int = 0


class Churn:
    """The load. `run` goes on until `is_done` says so."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self.tally = rig, Tally()
        self._turns = itertools.cycle(FUNCTIONS)
        self._calls = itertools.count(1)
        self._target = target_of(rig.url)
        self._requests = {name: self._request(f"/functions/{name}/invoke") for name in FUNCTIONS}
        self._later = self._request("/functions/plain-0/invoke-async", {"payload": 1})
        self.is_done = False

    def deploy(self) -> None:
        for name, (runtime, code, settings) in FUNCTIONS.items():
            self._rig.deploy(name, code, runtime=runtime, **settings)

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(self._caller)

    def _request(self, path: str, body: object = 1) -> bytes:
        return request_bytes(self._target, "POST", path, body=json.dumps(body).encode())

    async def _caller(self) -> None:
        connection: Connection | None = None
        while not self.is_done:
            number = next(self._calls)
            if number % UPDATE_EVERY == 0:
                await anyio.to_thread.run_sync(self._update, number)
            name = next(self._turns)
            try:
                if connection is None or not connection.is_open:
                    connection = await Connection.open(self._target, timeout_s=TIMEOUT_S)
                if name == "loses-its-caller":
                    await self._hang_up(connection)
                    continue
                if number % ASYNC_EVERY == 0:
                    await connection.ask(self._later, timeout_s=TIMEOUT_S)
                if self._count(await connection.ask(self._requests[name], timeout_s=TIMEOUT_S)) == "503 unavailable":
                    await anyio.sleep(AWAY_S)
            except (OSError, Broken, BadAnswer) as error:
                self.tally.answers[type(error).__name__] += 1
                if connection is not None:
                    connection.close()
                await anyio.sleep(RECONNECT_S)
        if connection is not None:
            connection.close()

    async def _hang_up(self, connection: Connection) -> None:
        with suppress(TimeoutError):
            await connection.ask(self._requests["loses-its-caller"], timeout_s=HANG_UP_S)
        connection.close()
        # No cycle: whether its instance was made by then is not known here.
        self.tally.answers["hung up"] += 1

    def _count(self, answer: Answer) -> str:
        try:
            body = json.loads(answer.body)
        except ValueError:
            body = {}
        if answer.status == 200:
            what = "200 cold" if body.get("cold_start") else "200 warm"
        else:
            what = f"{answer.status} {body.get('code', '')}"
        self.tally.answers[what] += 1
        self.tally.cycles += what == "200 cold" or body.get("code") in _ENDS
        return what

    def _update(self, number: int) -> None:
        """Deploy new code, as users do all day."""
        name = f"plain-{number // UPDATE_EVERY % 18}"
        with suppress(OSError):
            status, _ = self._rig.ask("PATCH", f"/functions/{name}", {"code": f"{PLAIN}# {number}\n"})
            self.tally.updates += status == 200
