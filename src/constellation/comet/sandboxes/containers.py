"""Interactive sandboxes in containers: the Docker daemon holds them, so that they outlive comet.

The socket that an agent accepts on is made here and passed into its container: nothing of the host is shown to it, and
whoever comes after us finds the socket where it was.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import anyio
import anyio.to_thread

from constellation.base.errors import ConstellationError
from constellation.base.sockets import reachable
from constellation.base.statedir import make_private, write_private
from constellation.comet.backend.contract import InstanceSpec, RuntimeUnavailable, SandboxStartFailed
from constellation.comet.docker.backend import DockerBackend
from constellation.comet.docker.container import Place, container_of_sandbox
from constellation.comet.docker.door import Door, lay_out
from constellation.comet.sandboxes.keeping import ForkFailed, PauseUnavailable
from constellation.comet.sandboxes.layout import AGENT, AGENT_DIR, HOME, INSIDE, TMP_MB
from constellation.comet.sandboxes.machines import SandboxBackendUnavailable
from constellation.comet.sandboxes.templates import TemplateUnavailable
from constellation.comet.sandboxes.wanted import SOCKETS, Answer, Ended, Kept, socket_of
from constellation.comet.strangers import GuestPipe, discard
from constellation.nova.domain.image import read_image
from constellation.nova.domain.network import NO_NETWORK
from constellation.nova.store.sandboxes import NewSandbox

_LABEL = "constellation.sandboxes"  # of the containers: of which platform they are
_PREFIX = "constellation-sandbox-"
_RECORD = "daemon.json"
_START_S, _REMOVE_S = 60.0, 20.0  # chosen: an interpreter in a new container on a loaded machine
_SAID_CHARS = 500
_SAID_S = 0.5  # chosen: what it printed before it ended is in the pipe already
_LIVING = ("running", "paused")


class Containers:
    """Implements `Place`."""

    fork_refusal = "containers are not forked: what is in their memory stays theirs; the namespace backend can"
    python: Sequence[str] = ("python3", "-I", "-S", "-X", "utf8")

    def __init__(self, backend: DockerBackend, run_dir: Path) -> None:
        self._backend, self._run_dir = backend, run_dir

    def socket_of(self, sandbox_id: str) -> Path:
        return socket_of(self._run_dir, sandbox_id)

    async def checked(self, new: NewSandbox) -> NewSandbox:
        """Pin the image that was named; a template's is the operator's.

        Raises:
            SandboxBackendUnavailable: no container runs here.
            TemplateUnavailable, ImageUnavailable: there is no such image, or it may not be used.
        """
        support = self._backend.support()
        if not support.available:
            raise SandboxBackendUnavailable(support.name, reason=support.reason)
        if not new.image:
            known = sorted(self._backend.images.keys() - support.missing_runtimes.keys())
            if new.template not in known:
                raise TemplateUnavailable(new.template, known=known)
            return new
        try:
            pinned = await self._backend.resolve(read_image(new.image), tenant=new.tenant, told=lambda _: None)
        except RuntimeUnavailable as error:
            raise ImageUnavailable(error.reason) from error
        return replace(new, image=pinned.text)

    async def create(self, sandbox_id: UUID, new: NewSandbox) -> None:
        """Make the container and wait until its agent has its socket.

        Raises:
            SandboxStartFailed, RuntimeUnavailable
        """
        from constellation.comet.docker.engine import EngineFailed  # noqa: PLC0415 (a host without Docker pays nothing)

        try:
            with anyio.fail_after(_START_S):
                await self._create(str(sandbox_id), new)
        except EngineFailed as error:
            raise SandboxStartFailed(step="docker", reason=str(error)) from error
        except TimeoutError as error:
            raise SandboxStartFailed(step="agent", reason=f"it did not come up within {_START_S:g} s") from error

    async def _create(self, sandbox_id: str, new: NewSandbox) -> None:
        from constellation.comet.docker.arrival import arrived  # noqa: PLC0415 (likewise)

        engine = self._backend.lent()
        image = await self._backend.image_of(new.template, new.image, tenant=new.tenant)
        place = self._run_dir / sandbox_id
        listener, guest_dir = await anyio.to_thread.run_sync(self._laid_out, sandbox_id)
        try:
            opened = await anyio.to_thread.run_sync(Door.open, place / "door")
            try:
                body = container_of_sandbox(
                    InstanceSpec(
                        tenant=new.tenant, namespace=new.namespace, function_id=new.id, function_name="",
                        function_version="", runtime="", handler="", code_dir=guest_dir, memory_mb=new.memory_mb,
                        cpu_millis=new.cpu_millis, max_pids=new.processes, tmp_mb=min(TMP_MB, new.disk_mb),
                    ),
                    [*self.python, AGENT, "given", HOME, str(new.processes)],
                    Place(
                        image=image.id, instance=sandbox_id, platform=self._backend.platform,
                        uid=self._backend.uid_of_sandbox(new.id), guest_dir=guest_dir, door_dir=opened.directory,
                        shm_mb=16,
                    ),
                    home=HOME, home_mb=new.disk_mb, agent_dir=AGENT_DIR, label=_LABEL,
                )  # fmt: skip
                with anyio.CancelScope(shield=True):  # to its own deadline: one that is given up on may come to be
                    container = await engine.create(_PREFIX + sandbox_id, body)
                await engine.start(container)
                arrival = await arrived(opened, engine, container, network=None, policy=NO_NETWORK)
            finally:
                with anyio.CancelScope(shield=True):  # bounded: two files on a local disk
                    await anyio.to_thread.run_sync(opened.close)
            try:
                await _given(arrival.channel, listener)
            except ConnectionError as error:
                said = await _last_words(arrival.stdio_fd)
                reason = f"{said or 'it ended'}; the agent of a sandbox needs python3 in its image"
                raise SandboxStartFailed(step="agent", reason=reason) from error
            finally:
                arrival.channel.close()
                discard([arrival.stdio_fd])  # nobody reads what the agent itself prints
        finally:
            listener.close()

    def _laid_out(self, sandbox_id: str) -> tuple[socket.socket, Path]:
        """Make the directory that its container is shown, and the socket. Blocks."""
        make_private(self._run_dir)
        make_private(self._run_dir / SOCKETS)
        told = {"socket": str(self._backend.socket), "label": f"{_LABEL}={self._backend.platform}"}
        write_private(self._run_dir / _RECORD, json.dumps(told))  # the supervisor ends them by it
        place = make_private(self._run_dir / sandbox_id)
        guest_dir = lay_out(place, "sandbox", sorted(INSIDE.glob("*.py")))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = self.socket_of(sandbox_id)
        with reachable(path) as near:
            listener.bind(near)
        path.chmod(0o600)
        listener.listen(128)
        return listener, guest_dir

    async def list(self) -> Answer | None:
        from constellation.comet.docker.engine import EngineFailed  # noqa: PLC0415 (likewise)

        try:
            found = await self._backend.lent().states(f"{_LABEL}={self._backend.platform}")
        except (EngineFailed, SandboxStartFailed):
            return None
        states = {name.removeprefix(_PREFIX): state for name, state in found.items()}
        return Answer(
            kept=[
                Kept(id=each, is_paused=state == "paused") for each, (state, _) in states.items() if state in _LIVING
            ],
            ended=[
                Ended(id=each, reason=f"its container: {words}")
                for each, (state, words) in states.items()
                if state not in _LIVING
            ],
        )

    async def pause(self, sandbox_id: str) -> None:
        await self._change(sandbox_id, is_paused=True)

    async def resume(self, sandbox_id: str) -> None:
        await self._change(sandbox_id, is_paused=False)

    async def _change(self, sandbox_id: str, *, is_paused: bool) -> None:
        from constellation.comet.docker.engine import EngineFailed  # noqa: PLC0415 (likewise)

        engine = self._backend.lent()
        try:
            await (engine.pause if is_paused else engine.resume)(_PREFIX + sandbox_id)
        except EngineFailed as error:
            raise PauseUnavailable(error.reason) from error

    async def copy(self, source: str, to: str) -> None:
        raise ForkFailed(f"{self.fork_refusal} ({source} to {to})")

    async def remove(self, sandbox_id: str) -> None:
        """Raises `SandboxStartFailed`: it may be there still."""
        if not await self._backend.lent().remove(_PREFIX + sandbox_id, within_s=_REMOVE_S):
            raise SandboxStartFailed(step="docker", reason="the container can not be removed now")
        await anyio.to_thread.run_sync(self._forget, sandbox_id)

    def _forget(self, sandbox_id: str) -> None:
        self.socket_of(sandbox_id).unlink(missing_ok=True)
        shutil.rmtree(self._run_dir / sandbox_id, ignore_errors=True)


class ImageUnavailable(ConstellationError):
    """The image that a sandbox is to be made of is not here, or may not be used."""

    code, http_status = "image_unavailable", 422

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


async def _given(channel: socket.socket, listener: socket.socket) -> None:
    """Pass the socket, and wait for the word that it was taken. Raises `ConnectionError`: the agent ended."""
    socket.send_fds(channel, [b"1"], [listener.fileno()])  # fits: little was ever sent before
    await anyio.wait_readable(channel)
    if not channel.recv(1):
        raise ConnectionResetError


async def _last_words(fd: int) -> str:
    said, pipe = b"", GuestPipe(fd)
    with anyio.move_on_after(_SAID_S):
        said = await pipe.read(1 << 16)
    pipe.close_nowait()
    return said.decode("utf-8", "replace").strip()[-_SAID_CHARS:]
