"""Bodies of the sandbox routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
EnvText = Annotated[str, Meta(max_length=32_768)]
Env = Annotated[dict[EnvName, EnvText], Meta(max_length=100)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class SandboxFile(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A file that a new sandbox has."""

    path: Path  # absolute, or below /home/sandbox
    text: str | None = None
    base64: bytes | None = None  # one of the two
    mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o644


class SandboxCreate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    template: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] = "python"  # a language of GET /runtimes
    backend: Literal["auto", "namespace", "docker"] = "auto"  # auto: namespace, or docker where there is an image
    image: Annotated[str, Meta(min_length=1, max_length=400)] | None = None  # with python3; instead of the template's
    memory_mb: Annotated[int, Meta(ge=64, le=65_536)] = 512
    cpu_millis: Annotated[int, Meta(ge=10, le=64_000)] = 1000
    disk_mb: Annotated[int, Meta(ge=1, le=65_536)] = 512  # in memory, and on top of it
    processes: Annotated[int, Meta(ge=16, le=4096)] = 256
    ttl_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 3600.0
    idle_timeout_s: Seconds = 0.0  # without a request; 0: never
    on_idle: Literal["pause", "remove"] = "pause"
    env: Env = {}
    files: Annotated[list[SandboxFile], Meta(max_length=200)] = []


class SandboxBody(Struct, kw_only=True, frozen=True):
    id: UUID
    tenant: str
    namespace: str
    template: str
    backend: str
    image: str  # that it was made of, pinned to its digest; "": its template's
    state: str  # creating, running, paused, ending or ended
    reason: str  # "idle": the next request resumes it
    memory_mb: int
    cpu_millis: int
    disk_mb: int
    processes: int
    idle_timeout_s: float
    on_idle: str
    env: list[str]  # names alone
    ports: list[int]  # that are exposed
    forked_from: UUID | None
    node: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class SandboxKeepalive(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    ttl_s: Annotated[float, Meta(ge=1, le=31_536_000)] | None = None  # from now on
    idle_timeout_s: Seconds | None = None


class SandboxFork(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    ttl_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 3600.0


class SandboxForked(Struct, kw_only=True, frozen=True):
    sandbox: SandboxBody
    copied: list[str]
    left_behind: list[str]


class SandboxExec(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(min_length=1, max_length=131_072)] | None = None  # of a shell
    argv: Annotated[list[str], Meta(min_length=1, max_length=256)] | None = None  # one of the two
    cwd: Path = "/home/sandbox"
    env: Env = {}  # besides the sandbox's own
    stdin: Annotated[str, Meta(max_length=1 << 20)] = ""
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    background: bool = False  # goes on by itself; answered with its pid


class SandboxCode(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    code: Annotated[str, Meta(min_length=1, max_length=1 << 20)]
    language: Literal["python", "javascript", "bash", "sh", "ruby", "php", "perl", "lua"] = "python"
    cwd: Path = "/home/sandbox"
    env: Env = {}
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0


class SandboxExit(Struct, kw_only=True, frozen=True):
    """How a program ended, and what it wrote; of a stream's last line, what it wrote is told before."""

    pid: int
    exit_code: int | None  # 128 + the signal's number, where it was ended by one; null: it runs in the background
    signal: str | None
    timed_out: bool
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    duration_ms: float


class SandboxEntry(Struct, kw_only=True, frozen=True):
    name: str
    path: str
    kind: str  # file, directory, link or other
    size: int
    mode: int
    modified_at: datetime
    target: str | None  # of a link


class SandboxEntries(Struct, kw_only=True, frozen=True):
    items: list[SandboxEntry]


class SandboxMkdir(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    path: Path
    mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o755


class SandboxMove(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    path: Path
    to: Path


class SandboxProcess(Struct, kw_only=True, frozen=True):
    pid: int
    parent: int
    state: str
    command: str
    memory_bytes: int
    cpu_s: float
    age_s: float


class SandboxProcesses(Struct, kw_only=True, frozen=True):
    items: list[SandboxProcess]


class SandboxExpose(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    port: Port


class SandboxPort(Struct, kw_only=True, frozen=True):
    port: int
    path: str  # at the gateway


class SandboxPorts(Struct, kw_only=True, frozen=True):
    items: list[SandboxPort]
