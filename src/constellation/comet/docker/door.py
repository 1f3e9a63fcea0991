"""How a worker in a container gets its descriptors: by a socket in a directory that its container alone is shown."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from constellation.base.sockets import reachable
from constellation.comet.docker.container import NAMES, SOCKET_NAME
from constellation.comet.strangers import discard, refuse_descriptors
from constellation.native import libexec_path


@dataclass(slots=True, eq=False)
class Door:
    """A listening socket and its directory. It lets one in, ct-guest, before any code of the image has run."""

    directory: Path
    _listener: socket.socket

    @classmethod
    def open(cls, directory: Path) -> Door:
        """Make the directory and listen in it. Blocks; call it in a thread."""
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)  # whatever the umask is; what keeps others of this host out is the directory above
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            with reachable(directory / SOCKET_NAME) as near:
                listener.bind(near)
            (directory / SOCKET_NAME).chmod(0o666)  # the user in the container is nobody's here
            listener.listen(1)
        except BaseException:
            listener.close()
            raise
        return cls(directory, listener)

    async def come(self) -> socket.socket:
        """Wait for ct-guest; return the channel, non-blocking."""
        await anyio.wait_readable(self._listener)
        channel, _ = self._listener.accept()
        channel.setblocking(False)
        refuse_descriptors(channel)  # ct-guest waits for its pipe, and before it nothing of the image runs
        return channel

    @staticmethod
    def give_output(channel: socket.socket) -> int:
        """Give ct-guest, which waits for it, a pipe for output; return our end of it, non-blocking."""
        out_fd, in_fd = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(out_fd, False)
            os.fchmod(
                in_fd, 0o622
            )  # so that the container's user can open its /dev/stdout, as it can that of any other
            socket.send_fds(channel, [b"\0"], [in_fd])  # fits: nothing was ever sent before
        except BaseException:
            os.close(out_fd)
            raise
        finally:
            discard([in_fd])
        return out_fd

    def close(self) -> None:
        """Let nobody in any more, and leave no file. Blocks as `open` does."""
        self._listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def clear(run_dir: Path) -> None:
    """Remove the doors of an earlier run. Blocks; call it in a thread."""
    for entry in run_dir.iterdir():
        shutil.rmtree(entry, ignore_errors=True)


def lay_out(run_dir: Path, runtime: str, sources: Iterable[Path]) -> Path:
    """Copy ct-guest and a worker's source to where containers are shown them; return the directory. Blocks.

    Copies, because the user in a container must be able to read them whatever the modes of our installation are, and
    because a container keeps what it was shown when that is replaced by another version.

    Raises:
        FileNotFoundError: ct-guest was not built.
    """
    directory = run_dir / f"guest-{runtime}"
    shutil.rmtree(directory, ignore_errors=True)  # of an attempt that failed
    directory.mkdir()
    directory.chmod(0o755)
    _copy(libexec_path("ct-guest"), directory, mode=0o755)
    for name, text in NAMES.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
    for source in sources:
        if source.is_dir():
            place = directory / source.name
            place.mkdir()
            place.chmod(0o755)
            for path in source.iterdir():
                if path.is_file():  # a recipe's directory is flat
                    _copy(path, place, mode=0o644)
        else:
            _copy(source, directory, mode=0o644)
    return directory


def _copy(source: Path, directory: Path, *, mode: int) -> None:
    target = directory / source.name
    shutil.copyfile(source, target)
    target.chmod(mode)


def refusal(path: Path) -> str:
    """Say why the daemon's socket can not be used; "" when something listens there that we may talk to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        with suppress(BlockingIOError):  # its line is full: it lives
            try:
                probe.connect(str(path))
            except FileNotFoundError:
                return f"{path} does not exist: no Docker daemon runs here, or docker.socket must name its socket"
            except PermissionError:
                return f"{path}: permission denied for uid {os.geteuid()}: its group, mostly docker, may use it"
            except OSError as error:
                return f"{path}: no daemon listens: {error.strerror or error}"
    return ""
