"""The frame of every plane's process: log, state directory, keys, and its telemetry socket."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio
import structlog
from anyio.abc import TaskStatus
from grpclib.server import Stream
from prometheus_client import CollectorRegistry

from constellation.aurora.logging.setup import configure
from constellation.aurora.metrics.registry import exposition, new_registry
from constellation.base.address import parse_address
from constellation.base.clock import Clock, SystemClock
from constellation.base.errors import ConstellationError
from constellation.base.lifecycle import die_with_supervisor, hide_memory, open_many_files, until_signal
from constellation.base.sockets import listen_tcp, listen_unix
from constellation.base.statedir import default_state_dir, make_private, read_when_there
from constellation.nova.config.load import Loaded, load
from constellation.nova.config.sections import PlatformSettings
from constellation.rpc.caller import CallerVerifier
from constellation.rpc.server import Guarded, serving
from constellation.wire.gen import telemetry_pb2
from constellation.wire.gen.telemetry_grpc import TelemetryBase

log = structlog.get_logger()

# Objects that can hold others, between two looks for cycles among the young ones. Chosen: a request makes some hundreds, and
# nearly all end without help; Python itself has 700.
_COLLECT_AFTER = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneContext:
    """What `app.py` of a plane is handed."""

    plane: str
    node: str
    state_dir: Path
    service_token: str
    identity_key: bytes
    registry: CollectorRegistry
    clock: Clock

    @property
    def verifier(self) -> CallerVerifier:
        return CallerVerifier(service_token=self.service_token, identity_key=self.identity_key, clock=self.clock)

    def new_owner(self) -> str:
        """Return the name under which this process holds leases; no other process ever has it."""
        return f"{self.node}:{os.getpid()}:{os.urandom(4).hex()}"

    async def dsn(self, configured: str, *, role: str | None = None) -> str:
        """Return where this plane finds its database: what is configured, else what nova wrote for it, or for `role`."""
        return configured or await read_when_there(self.state_dir / f"{role or self.plane}.dsn")


class Telemetry(TelemetryBase):
    """Answers aurora."""

    def __init__(self, context: PlaneContext) -> None:
        self._context = context

    async def Metrics(self, stream: Stream[Any, Any]) -> None:  # noqa: N802  # the name of the proto
        await stream.recv_message()
        text = exposition(self._context.registry)
        await stream.send_message(
            telemetry_pb2.MetricsResponse(text=text, plane=self._context.plane, node=self._context.node)
        )


def state_dir_of(platform: PlatformSettings) -> Path:
    """Return this platform's state directory, made private."""
    return make_private(Path(platform.state_dir or default_state_dir(os.environ, uid=os.getuid())))


def socket_path(state_dir: Path, plane: str) -> Path:
    """Return where a plane answers health and telemetry."""
    return make_private(state_dir / "run") / f"{plane}.sock"


async def plane_context(plane: str, platform: PlatformSettings) -> PlaneContext:
    """Return the context of a plane, waiting for the keys that nova writes unless they are configured."""
    state_dir = state_dir_of(platform)
    token = platform.service_token or await read_when_there(state_dir / "service.token")
    key = platform.identity_key or await read_when_there(state_dir / "identity.key")
    return new_context(plane, platform, state_dir=state_dir, service_token=token, identity_key=key)


def new_context(
    plane: str, platform: PlatformSettings, *, state_dir: Path, service_token: str, identity_key: str
) -> PlaneContext:
    """Return a context of known keys; `identity_key` is text of any form, its bytes are the key."""
    return PlaneContext(
        plane=plane,
        node=platform.node or socket.gethostname(),
        state_dir=state_dir,
        service_token=service_token,
        identity_key=identity_key.encode(),
        registry=new_registry(),
        clock=SystemClock(),
    )


@asynccontextmanager
async def telemetry(context: PlaneContext, *, admin: str = "") -> AsyncIterator[None]:
    """Serve health and telemetry on the plane's socket, and on `admin` (HOST:PORT) when given."""
    services: Sequence[Any] = [Guarded(Telemetry(context), context.verifier, needs_identity=False)]
    async with AsyncExitStack() as stack:
        path = socket_path(context.state_dir, context.plane)
        await stack.enter_async_context(serving(services, listener=listen_unix(path)))
        if admin:
            listener, _ = listen_tcp(parse_address(admin))
            await stack.enter_async_context(serving(services, listener=listener))
        yield


def run_plane(
    plane: str, main: Callable[[Loaded], Awaitable[None]], *, config: Path | None, flags: dict[str, object]
) -> None:
    """Load the settings and run a plane's `main` on one uvloop until it ends; exit 1 with one clear line on refusal."""
    die_with_supervisor(os.environ)
    hide_memory()  # it holds tokens, and values of secrets
    open_many_files()
    try:
        loaded = load(file=config, env=os.environ, flags=flags)
        platform = loaded.settings.platform
        configure(plane=plane, level=platform.log_level, json=platform.log_format == "json")
        # What was imported lives as long as the process: no collection needs to look through it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
        anyio.run(main, loaded, backend_options={"use_uvloop": True})
    except ConstellationError as error:
        sys.stderr.write(f"{plane}: {error}\n")
        raise SystemExit(1) from error
    except BaseExceptionGroup as group:
        refusals, rest = group.split(ConstellationError)
        if rest is not None or refusals is None:
            raise
        for refusal in _leaves(refusals):
            sys.stderr.write(f"{plane}: {refusal}\n")
        raise SystemExit(1) from group


class Service(Protocol):
    """Works until it is told to end, or is cancelled."""

    async def run(self, *, task_status: TaskStatus[None]) -> None: ...


async def run_until_signal(service: Service, *, ending: Sequence[tuple[Callable[[], None], float]]) -> None:
    """Run a service until SIGTERM or SIGINT, then end it: gently at first, by cancelling it in the end.

    Args:
        ending: steps from gentle to firm, each what to call and for how many seconds the service may then go on.
    """
    ended = anyio.Event()

    async def work(*, task_status: TaskStatus[None]) -> None:
        await service.run(task_status=task_status)
        ended.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(work)
        log.info("plane.ready")
        received = await until_signal()
        log.info("plane.stopping", signal=received.name)
        for step, limit_s in ending:
            step()
            with anyio.move_on_after(limit_s):
                await ended.wait()
        tasks.cancel_scope.cancel()


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
