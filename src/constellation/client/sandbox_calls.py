"""Operations on interactive sandboxes, each as a function from its arguments to its `Call`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from constellation.client.call import Call, call, page_call
from constellation.routes.models import sandboxes as x
from constellation.routes.models.paging import DEFAULT_LIMIT, Page

_GRACE_S = 60.0  # over a program's own time: its end is told by the platform
_ARCHIVE_S = 900.0
_BINARY = {"content-type": "application/octet-stream"}
_LINES = {"accept": "application/x-ndjson"}


def create_sandbox(sandbox: x.SandboxCreate) -> Call[x.SandboxBody]:
    """Make a sandbox; it runs once this returns."""
    return call("create_sandbox", x.SandboxBody, body=sandbox)


def list_sandboxes(*, state: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[x.SandboxBody]]:
    """Sandboxes of the namespace, newest first; those that ended only when `state` says so."""
    return page_call("list_sandboxes", x.SandboxBody, page_size=page_size, query={"state": state})


def get_sandbox(sandbox_id: UUID) -> Call[x.SandboxBody]:
    """One sandbox."""
    return call("get_sandbox", x.SandboxBody, params=_id(sandbox_id))


def delete_sandbox(sandbox_id: UUID) -> Call[x.SandboxBody]:
    """End a sandbox; nothing of it is left once this returns."""
    return call("delete_sandbox", x.SandboxBody, params=_id(sandbox_id))


def keep_sandbox(
    sandbox_id: UUID, *, ttl_s: float | None = None, idle_timeout_s: float | None = None
) -> Call[x.SandboxBody]:
    """Let it live so long from now on."""
    body = x.SandboxKeepalive(ttl_s=ttl_s, idle_timeout_s=idle_timeout_s)
    return call("keep_sandbox", x.SandboxBody, params=_id(sandbox_id), body=body)


def pause_sandbox(sandbox_id: UUID) -> Call[x.SandboxBody]:
    """Let every process of it stand still."""
    return call("pause_sandbox", x.SandboxBody, params=_id(sandbox_id))


def resume_sandbox(sandbox_id: UUID) -> Call[x.SandboxBody]:
    """Let it go on."""
    return call("resume_sandbox", x.SandboxBody, params=_id(sandbox_id))


def fork_sandbox(sandbox_id: UUID, *, ttl_s: float = 3600.0) -> Call[x.SandboxForked]:
    """A new one with its files, environment and exposed ports; its processes stay behind."""
    return call("fork_sandbox", x.SandboxForked, params=_id(sandbox_id), body=x.SandboxFork(ttl_s=ttl_s))


def exec_sandbox(sandbox_id: UUID, program: x.SandboxExec) -> Call[x.SandboxExit]:
    """Run a program and hear it as it writes; leaving the stream ends it."""
    timeout_s = program.timeout_s + _GRACE_S
    return call(
        "exec_sandbox", x.SandboxExit, params=_id(sandbox_id), body=program, timeout_s=timeout_s, headers=_LINES
    )


def run_sandbox_code(sandbox_id: UUID, code: x.SandboxCode) -> Call[x.SandboxExit]:
    """Run a piece of code and hear it as it writes."""
    timeout_s = code.timeout_s + _GRACE_S
    return call(
        "run_sandbox_code", x.SandboxExit, params=_id(sandbox_id), body=code, timeout_s=timeout_s, headers=_LINES
    )


def read_sandbox_file(
    sandbox_id: UUID, path: str, *, offset: int | None = None, length: int | None = None
) -> Call[Any]:
    """The bytes of a file, piece by piece."""
    query = {"path": path, "offset": offset, "length": length}
    return call("read_sandbox_file", None, params=_id(sandbox_id), query=query)


def write_sandbox_file(
    sandbox_id: UUID, path: str, content: bytes, *, mode: str | None = None, offset: int | None = None
) -> Call[x.SandboxEntry]:
    """Write a file, or from an offset on a part of it. `mode` is octal."""
    query = {"path": path, "mode": mode, "offset": offset}
    return call(
        "write_sandbox_file", x.SandboxEntry, params=_id(sandbox_id), query=query, content=content, headers=_BINARY
    )


def delete_sandbox_file(sandbox_id: UUID, path: str, *, recursive: bool = False) -> Call[None]:
    """Delete a file, an empty directory, or one with all that is in it."""
    query = {"path": path, "recursive": recursive or None}
    return call("delete_sandbox_file", None, params=_id(sandbox_id), query=query)


def list_sandbox_files(sandbox_id: UUID, path: str | None = None) -> Call[x.SandboxEntries]:
    """What is in a directory; /home/sandbox when absent."""
    return call("list_sandbox_files", x.SandboxEntries, params=_id(sandbox_id), query={"path": path})


def stat_sandbox_file(sandbox_id: UUID, path: str) -> Call[x.SandboxEntry]:
    """What a path names."""
    return call("stat_sandbox_file", x.SandboxEntry, params=_id(sandbox_id), query={"path": path})


def make_sandbox_directory(sandbox_id: UUID, path: str) -> Call[x.SandboxEntry]:
    """Make a directory and its parents."""
    return call("make_sandbox_directory", x.SandboxEntry, params=_id(sandbox_id), body=x.SandboxMkdir(path=path))


def move_sandbox_file(sandbox_id: UUID, path: str, to: str) -> Call[x.SandboxEntry]:
    """Rename a file or directory."""
    return call("move_sandbox_file", x.SandboxEntry, params=_id(sandbox_id), body=x.SandboxMove(path=path, to=to))


def download_sandbox_archive(sandbox_id: UUID, path: str | None = None) -> Call[Any]:
    """A directory as tar.gz, piece by piece."""
    return call("download_sandbox_archive", None, params=_id(sandbox_id), query={"path": path}, timeout_s=_ARCHIVE_S)


def upload_sandbox_archive(sandbox_id: UUID, content: bytes, path: str | None = None) -> Call[None]:
    """Unpack a tar, plain or compressed, into a directory."""
    return call(
        "upload_sandbox_archive",
        None,
        params=_id(sandbox_id),
        query={"path": path},
        content=content,
        headers=_BINARY,
        timeout_s=_ARCHIVE_S,
    )


def list_sandbox_processes(sandbox_id: UUID) -> Call[x.SandboxProcesses]:
    """What runs in it."""
    return call("list_sandbox_processes", x.SandboxProcesses, params=_id(sandbox_id))


def signal_sandbox_process(sandbox_id: UUID, pid: int, *, signal: int | None = None) -> Call[None]:
    """Send a process a signal; SIGTERM when absent."""
    params = {**_id(sandbox_id), "pid": str(pid)}
    return call("signal_sandbox_process", None, params=params, query={"signal": signal})


def list_sandbox_ports(sandbox_id: UUID) -> Call[x.SandboxPorts]:
    """Ports that the gateway passes on."""
    return call("list_sandbox_ports", x.SandboxPorts, params=_id(sandbox_id))


def expose_sandbox_port(sandbox_id: UUID, port: int) -> Call[x.SandboxPort]:
    """Pass a port on, at the path that is returned."""
    return call("expose_sandbox_port", x.SandboxPort, params=_id(sandbox_id), body=x.SandboxExpose(port=port))


def close_sandbox_port(sandbox_id: UUID, port: int) -> Call[x.SandboxPorts]:
    """Pass a port on no longer."""
    return call("close_sandbox_port", x.SandboxPorts, params={**_id(sandbox_id), "port": str(port)})


def _id(sandbox_id: UUID) -> dict[str, str]:
    return {"id": str(sandbox_id)}
