"""A backend without processes: keeps the contract of `comet.backend.contract` on any event loop and a virtual clock.

What instances do is said by a `Script`; the fake itself checks the legal order of calls and counts what is alive, so
that a test can hold a pool to its bounds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from constellation.base.ids import InstanceId
from constellation.comet.backend.contract import (
    BackendSupport,
    Call,
    CallLog,
    CallTimeout,
    InstanceDied,
    InstanceSpec,
    InstanceStats,
    Outcome,
)

Step = Callable[[InstanceSpec], Awaitable[None]]
Handler = Callable[[InstanceSpec, Call], Awaitable[bytes | Outcome]]


async def at_once(_spec: InstanceSpec) -> None:
    """Take no time."""
    await anyio.lowlevel.checkpoint()


async def echo(_spec: InstanceSpec, call: Call) -> bytes:
    """Answer with the payload."""
    await anyio.lowlevel.checkpoint()
    return call.payload


@dataclass(slots=True)
class Script:
    """What the instances of a fake do; each step may sleep or raise what the contract lets it raise."""

    create: Step = at_once
    init: Step = at_once
    handle: Handler = echo
    destroy_s: float = 0.0
    pieces: int = 3  # that a streamed answer comes in


@dataclass(slots=True, eq=False)
class FakeInstance:
    """One sandbox that is not there."""

    number: int
    spec: InstanceSpec
    backend: FakeBackend
    died: anyio.Event = field(default_factory=anyio.Event)
    is_initialised: bool = False
    is_refusing: bool = False  # a call was given up
    calls: int = 0
    most_calls: int = 0
    cause: str = "destroyed"
    _scopes: set[anyio.CancelScope] = field(default_factory=set)

    @property
    def link(self) -> int:
        return 0

    @property
    def id(self) -> InstanceId:
        return InstanceId(f"fake-{self.number}")

    async def init(self, *, timeout_s: float) -> None:
        assert not self.is_initialised, "init is called once"
        with anyio.move_on_after(timeout_s) as scope:
            await self._unless_dead(self.backend.script.init(self.spec))
        if scope.cancelled_caught:
            self.die("destroyed")
            raise CallTimeout(self.spec.function_name, after_s=timeout_s, phase="init")
        self.is_initialised = True

    async def invoke(self, call: Call) -> Outcome:
        self._begin()
        is_done = False
        try:
            with anyio.move_on_after(call.timeout_s) as scope:
                answer = await self._unless_dead(self.backend.script.handle(self.spec, call))
                is_done = True
            if scope.cancelled_caught:
                raise CallTimeout(self.spec.function_name, after_s=call.timeout_s)
        finally:
            self.calls -= 1
            if not is_done:
                self._give_up()
        if isinstance(answer, Outcome):
            return answer
        return Outcome(output=answer, error=None, log=CallLog(), duration_ms=0.0)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[FakeStream]:
        self._begin()
        stream = FakeStream(self, call)
        try:
            yield stream
        finally:
            self.calls -= 1
            if stream.ended is None:
                self._give_up()

    async def stats(self) -> InstanceStats:
        return InstanceStats(memory_bytes=None, cpu_s=None, pids=None)

    async def destroy(self) -> None:
        self.die("destroyed")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.backend.script.destroy_s)
        self.backend.alive.pop(self.number, None)

    def die(self, cause: str) -> None:
        """End by itself, now."""
        if not self.died.is_set():
            self.cause = cause
            self.died.set()
            for scope in self._scopes:
                scope.cancel()

    def _begin(self) -> None:
        assert self.is_initialised, "invoke before init"
        assert not self.is_refusing, "a call on an instance with a call that was given up"
        assert self.calls < self.spec.concurrency, "more calls than the specification allows"
        if self.died.is_set():
            raise InstanceDied(self.spec.function_name, cause=self.cause)
        self.calls += 1
        self.most_calls = max(self.most_calls, self.calls)

    def _give_up(self) -> None:
        self.is_refusing = True
        if self.spec.concurrency == 1:
            self.die("destroyed")

    async def _unless_dead(self, work: Awaitable[bytes | Outcome | None]) -> bytes | Outcome:
        """Wait for the work; it ends with `InstanceDied` when the instance does."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                answer = await work
            finally:
                self._scopes.discard(scope)
            return answer if answer is not None else b""
        raise InstanceDied(self.spec.function_name, cause=self.cause)


class FakeStream:
    """The answer of the handler in equal pieces."""

    def __init__(self, instance: FakeInstance, call: Call) -> None:
        self._instance, self._call = instance, call
        self._pieces: list[bytes] | None = None
        self.ended: Outcome | None = None

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces is None:
            script = self._instance.backend.script
            with anyio.move_on_after(self._call.timeout_s) as scope:
                answer = await self._instance._unless_dead(script.handle(self._instance.spec, self._call))  # noqa: SLF001  # its own class's other half
            if scope.cancelled_caught:
                raise CallTimeout(self._instance.spec.function_name, after_s=self._call.timeout_s)
            if isinstance(answer, Outcome):
                self.ended = answer
                raise StopAsyncIteration
            size = max(1, -(-len(answer) // script.pieces))
            self._pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        if self._instance.died.is_set():
            raise InstanceDied(self._instance.spec.function_name, cause=self._instance.cause)
        if not self._pieces:
            self.ended = Outcome(output=b"", error=None, log=CallLog(), duration_ms=0.0)
            raise StopAsyncIteration
        return self._pieces.pop(0)

    @property
    def outcome(self) -> Outcome:
        assert self.ended is not None
        return self.ended


class FakeBackend:
    """An isolator of nothing."""

    name = "fake"

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.alive: dict[int, FakeInstance] = {}  # made and not yet destroyed
        self.made = 0
        self.creating = 0
        self.most_alive = 0
        self.templates: frozenset[str] = frozenset()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        yield

    def support(self) -> BackendSupport:
        return BackendSupport(name=self.name, available=True, reason="", limits={})

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        self.templates = frozenset(runtimes) if memory_bytes > 0 else frozenset()

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> FakeInstance:
        self.creating += 1
        self.most_alive = max(self.most_alive, len(self.alive) + self.creating)
        try:
            with anyio.fail_after(timeout_s):
                await self.script.create(spec)
            self.made += 1
            instance = FakeInstance(self.made, spec, self)
            self.alive[instance.number] = instance
            return instance
        finally:
            self.creating -= 1
