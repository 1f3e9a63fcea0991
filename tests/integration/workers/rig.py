"""Real plane processes over a real database, and a comet whose functions are the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from constellation.base.address import Address
from constellation.base.clock import SystemClock
from constellation.base.errors import ConstellationError, NotFound
from constellation.base.sockets import listen_tcp
from constellation.nova.domain.job import NewJob
from constellation.nova.store.jobs import Jobs
from constellation.rpc.caller import CALLER, Caller, CallerVerifier
from constellation.rpc.server import Guarded, serving
from constellation.wire.gen import nova_pb2
from constellation.wire.gen.nova_grpc import NovaServiceBase

SERVICE_TOKEN = "service-token-of-the-tests"
IDENTITY_KEY = "identity-key-of-the-tests"
SOURCE = Path(__file__).parents[3] / "src"

ANY_PORT = Address("127.0.0.1", 0)
Handler = Callable[[bytes, Caller], Awaitable[bytes]]


class Raised(Exception):
    """A scripted function's handler raised."""


class ScriptedComet(NovaServiceBase):
    """Answers `Invoke` by the test's functions and accepts durable calls into the real tables."""

    def __init__(self, jobs: Jobs):
        self.functions: dict[str, Handler] = {}
        self.jobs = jobs
        self.callers: list[Caller] = []
        self.in_hand = 0
        self.transports: set[asyncio.Transport] = set()
        self.accepted: list[str] = []  # idempotency keys, as often as they came
        self.waiting: set[str] = set()  # functions that wait when they are run durably
        self.runs: list[tuple[str, int]] = []  # of executions: id and token

    async def Invoke(self, stream):
        request = await stream.recv_message()
        caller = CALLER.get()
        self.callers.append(caller)
        self.transports.add(stream._stream._transport)
        function = self.functions.get(request.function)
        if function is None:
            raise NotFound("function", request.function)
        self.in_hand += 1
        try:
            reply = nova_pb2.InvokeResponse(request_id=str(caller.context.request_id), duration_ms=1.0, version="1")
            try:
                reply.output = await function(request.payload, caller)
            except Raised as error:
                reply.error = json.dumps({"type": "Raised", "message": str(error), "stack": ""}).encode()
            await stream.send_message(reply)
        finally:
            self.in_hand -= 1

    async def InvokeDurable(self, stream):
        request = await stream.recv_message()
        self.runs.append((request.execution, request.token))
        if request.function in self.waiting:
            await stream.send_message(nova_pb2.InvokeDurableResponse())
            return
        answer = nova_pb2.InvokeResponse(request_id=str(CALLER.get().context.request_id), duration_ms=1.0, version="1")
        try:
            answer.output = await self.functions[request.function](request.payload, CALLER.get())
        except Raised as error:
            answer.error = json.dumps({"type": "Raised", "message": str(error), "stack": ""}).encode()
        await stream.send_message(nova_pb2.InvokeDurableResponse(answer=answer))

    async def InvokeAsync(self, stream):
        request = await stream.recv_message()
        identity = CALLER.get().identity
        if request.function not in self.functions:
            raise NotFound("function", request.function)
        enqueued = await self.jobs.enqueue(
            NewJob(
                tenant=identity.tenant,
                namespace=identity.namespace,
                function_name=request.function,
                payload=request.payload,
                subject=identity.subject,
                source=request.source,
                idempotency_key=request.idempotency_key or None,
            )
        )
        self.accepted.append(request.idempotency_key)
        status = "replay" if enqueued.is_replay else "queued"
        await stream.send_message(nova_pb2.InvokeAsyncResponse(id=str(enqueued.job.id), status=status))

    async def InvokeStream(self, stream):
        raise ConstellationError("not in this test")

    async def ProxyHTTP(self, stream):
        raise ConstellationError("not in this test")

    async def Tunnel(self, stream):
        raise ConstellationError("not in this test")

    async def Stats(self, stream):
        raise ConstellationError("not in this test")

    @asynccontextmanager
    async def serving(self, address: Address = ANY_PORT) -> AsyncIterator[Address]:
        verifier = CallerVerifier(service_token=SERVICE_TOKEN, identity_key=IDENTITY_KEY.encode(), clock=SystemClock())
        listener, address = listen_tcp(address)
        async with serving([Guarded(self, verifier)], listener=listener):
            yield address

    def die(self) -> None:
        """Reset every connection, as the kernel does for a process that was killed."""
        for transport in self.transports:
            transport.abort()
        self.transports.clear()


@dataclass
class Platform:
    """A state directory as nova leaves it, and the plane processes of one test."""

    state_dir: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, plane: str, *flags: str, config: dict[str, object] | None = None) -> subprocess.Popen[bytes]:
        file = self.state_dir / f"{plane}.json"
        file.write_text(json.dumps(config or {}))
        command = [sys.executable, "-m", f"constellation.{plane}.main", "daemon", "--config", str(file)]
        with (self.state_dir / f"{plane}.{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--state-dir", str(self.state_dir), *flags],
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.state_dir.glob("*.log")))

    def stop(self) -> None:
        """Stop every plane in order."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=20)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


async def eventually(check: Callable[[], Awaitable[object] | object], platform: Platform, *, within_s: float = 30.0):
    """Return the first truthy answer of `check`; fail with the planes' logs when none comes."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        answer = check()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        await anyio.sleep(0.02)
    raise AssertionError(f"not within {within_s} s\n{platform.log()}")
