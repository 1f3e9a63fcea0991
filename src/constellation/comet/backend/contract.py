"""What an isolator offers to the pool, and what holds before, during and after.

Legal order of one instance: `create` once; `init` once; then any number of `invoke` and `stream`, at most
`InstanceSpec.concurrency` at a time; `destroy` at any moment and any number of times. After `destroy` returns, no
process, cgroup, mount, network namespace, socket or file of the instance is left, and every call that was in hand
has ended with `InstanceDied`. An instance that died by itself stays in this state until it is destroyed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import anyio

from constellation.base.errors import ConstellationError
from constellation.base.ids import InstanceId
from constellation.nova.domain.function import AUTO_BACKEND
from constellation.nova.domain.network import NO_NETWORK, NetworkPolicy
from constellation.rpc.metadata import CallContext

if TYPE_CHECKING:  # it is handed through
    from constellation.comet.executor.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedVolume:
    """A volume as an instance has it."""

    id: UUID
    directory: Path  # on the host
    path: str  # in the sandbox
    is_writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """Everything a backend needs to make and initialise one instance of one function version of one tenant."""

    tenant: str
    namespace: str
    function_id: UUID
    function_name: str
    function_version: str
    runtime: str
    handler: str
    code_dir: Path  # on the host; read-only inside
    layers_dir: Path | None = None  # likewise: merged, on /opt
    volumes: tuple[MountedVolume, ...] = ()  # a backend that can not show them refuses
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # values of secrets among them
    sockets_dir: Path | None = None  # on the host; what is SOCKETS_DIR inside
    secret_files: Mapping[str, str] = field(default_factory=dict, repr=False)  # below FILES_DIR: name -> text
    preload: tuple[str, ...] = ()  # modules of the code that instances may start with; a backend may ignore it
    backend: str = AUTO_BACKEND  # whose instance it is to be
    network: NetworkPolicy = NO_NETWORK
    memory_mb: int = 128
    cpu_millis: int = 1000
    max_pids: int = 64
    tmp_mb: int = 64
    concurrency: int = 1
    log_limit_bytes: int = 64 << 10  # a call


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the handler."""

    request_id: UUID
    payload: bytes  # JSON
    timeout_s: float  # what is left of the caller's time; the backend enforces it
    trace_id: bytes = bytes(16)
    span_id: bytes = bytes(8)
    # For what the handler asks of the platform meanwhile; the worker sees neither.
    origin: CallContext | None = None  # what led to the call
    turn: Turn | None = None  # of a durable execution


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLog:
    """What the handler printed during one call, bounded by the spec."""

    text: str = ""
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended that the worker answered: exactly one of `output` and `error` is set."""

    output: bytes | None  # JSON, checked
    error: bytes | None  # JSON {type, message, stack}: the handler raised
    log: CallLog
    duration_ms: float  # exec frame written to result frame read


class StreamOutcome(Protocol):
    """A streamed answer: iterate for the pieces, then read how it ended."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    @property
    def outcome(self) -> Outcome:
        """Valid after the iteration ended; `output` is empty bytes when the handler returned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStats:
    memory_bytes: int | None  # private; None where the host can not say
    cpu_s: float | None
    pids: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSupport:
    """Whether a backend can run on this host, how each limit is enforced, and what is missing."""

    name: str
    available: bool
    reason: str  # empty when available
    limits: Mapping[str, str]  # limit -> "cgroup v1", "cgroup v2", "rlimit" or "none"
    preload_reason: str = ""  # why `preload` has no effect here, if it has none
    egress_reason: str = ""  # why its instances reach no network, if they do not
    missing_runtimes: Mapping[str, str] = field(default_factory=dict)  # runtime id -> what it lacks here
    sandboxes: tuple[str, ...] = ()  # what interactive sandboxes can there


class InstanceDied(ConstellationError):
    """The sandbox ended while it was needed: the handler exited, ran out of memory, or spoke rubbish."""

    code, http_status, retryable = "instance_died", 502, False

    def __init__(self, function: str, *, cause: str, log: CallLog | None = None) -> None:
        super().__init__(f"{function}: the instance died: {cause}", extras={"cause": cause})
        self.cause = cause  # "exit status 3", "signal 9", "out of memory", "protocol: ...", "destroyed"
        self.log = log or CallLog()


class CallTimeout(ConstellationError):
    """The handler did not answer in its time; with concurrency 1 its whole process tree is dead."""

    code, http_status = "timeout", 504

    def __init__(self, function: str, *, after_s: float, phase: str = "run", log: CallLog | None = None) -> None:
        super().__init__(
            f"{function}: no answer within {after_s:g} s ({phase})", extras={"after_s": after_s, "phase": phase}
        )
        self.phase = phase  # "run", "init" or "wait"
        self.log = log or CallLog()


class ServerNotReady(CallTimeout):
    """The server of a container-image function did not come up in its time; the instance is destroyed."""

    code, http_status = "server_not_ready", 504

    def __init__(self, function: str, *, after_s: float, log: CallLog) -> None:
        super().__init__(function, after_s=after_s, phase="init", log=log)
        waited = (
            f"{function}: after {after_s:g} s nothing accepts connections on port 8080 of its container, on 0.0.0.0"
        )
        self.args = (f"{waited}; init_timeout_s is how long it may take",)


class OutputInvalid(ConstellationError):
    """The worker's answer is not JSON."""

    code, http_status = "output_invalid", 502

    def __init__(self, function: str, *, log: CallLog | None = None) -> None:
        super().__init__(f"{function}: the output is not valid JSON")
        self.log = log or CallLog()


class HandlerLoadFailed(ConstellationError):
    """The code could not be imported or has no such handler; `error` is the {type, message, stack} of the worker."""

    code, http_status = "handler_load_failed", 502

    def __init__(self, function: str, *, error: Mapping[str, str]) -> None:
        super().__init__(
            f"{function}: {error.get('type', 'Error')}: {error.get('message', '')}",
            extras={"stack": error.get("stack", "")[:8192]},
        )
        self.error = error


class SandboxStartFailed(ConstellationError):
    """The host could not make the sandbox; `step` names what failed."""

    code, http_status, retryable = "sandbox_start_failed", 503, True

    def __init__(self, *, step: str, reason: str) -> None:
        super().__init__(f"the sandbox could not be made: {step}: {reason}", retry_after_s=1)
        self.step = step


class RuntimeUnavailable(ConstellationError):
    """No such runtime, or its interpreter is not on this host."""

    code, http_status = "runtime_unavailable", 503

    def __init__(self, runtime: str, *, reason: str) -> None:
        super().__init__(f"runtime {runtime!r}: {reason}", extras={"runtime": runtime})
        self.reason = reason


class Instance(Protocol):
    """One sandbox."""

    @property
    def id(self) -> InstanceId: ...

    @property
    def link(self) -> int:
        """The handle of its channel, for the lane in C; 0: only `invoke` and `stream` reach it."""
        ...

    @property
    def died(self) -> anyio.Event:
        """Set once the sandbox is gone, whatever ended it."""
        ...

    async def init(self, *, timeout_s: float) -> None:
        """Load the handler.

        Raises:
            HandlerLoadFailed: the worker said why it could not; the instance must be destroyed.
            CallTimeout: with phase "init"; the instance is destroyed already.
            InstanceDied: it ended while loading.
        """
        ...

    async def invoke(self, call: Call) -> Outcome:
        """Run one call to its end.

        With concurrency 1 a timeout or a cancellation kills the whole tree. With more, the call alone is given up: the
        caller is answered, and the instance serves its other calls but must get no new ones.

        Raises:
            CallTimeout, InstanceDied, OutputInvalid
        """
        ...

    def stream(self, call: Call) -> AbstractAsyncContextManager[StreamOutcome]:
        """Run one call whose answer comes in pieces, with back-pressure. Leaving the block early gives the call up."""
        ...

    async def stats(self) -> InstanceStats: ...

    async def destroy(self) -> None:
        """End the instance and all that belongs to it; safe to call again, shielded inside against cancellation."""
        ...


class Backend(Protocol):
    """An isolator on this host."""

    @property
    def name(self) -> str: ...

    def run(self) -> AbstractAsyncContextManager[None]:
        """Hold what the backend needs (fork servers, parent cgroups). On entry, leftovers of a killed run are reaped."""
        ...

    def support(self) -> BackendSupport: ...

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> Instance:
        """Make a sandbox with a worker inside that waits for `init`.

        Raises:
            SandboxStartFailed, RuntimeUnavailable
        """
        ...

    async def keep_templates(self, runtimes: Collection[str], *, memory_bytes: int) -> None:
        """Hold ready what makes a start of these runtimes fast, and let go of what only others need.

        Stops adding where all templates together would pass `memory_bytes` (proportional set size); a runtime without
        a template is still served, its first start is slower.
        """
        ...
