"""Volumes: directories that outlive instances, who may mount them, and where. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.nova.domain.volume_mount import VolumeMount

NAME = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
MIN_SIZE_MB, MAX_SIZE_MB = 8, 10240
MAX_MOUNTS = 8  # of a function
MAX_PATH_CHARS = 200
MAX_VOLUMES = 100  # of a namespace; chosen: each in use takes a loop device of the host
NO_VOLUMES = frozenset({"docker", "wasm", "image"})  # backends and runtimes
# What the sandbox has of its own or of the host; /root is often where an interpreter lies.
_TAKEN = frozenset(
    [
        "bin",
        "boot",
        "code",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "node_modules",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
    ]
)
_NAME = re.compile(NAME)
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


class Access(StrEnum):
    """Who may mount a volume, and how."""

    READ_WRITE = "read_write"  # any number of functions
    READ_ONLY = "read_only"  # any number, and none writes
    READ_WRITE_ONCE = "read_write_once"  # one function, in any number of instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One row of `volumes`."""

    tenant: str
    namespace: str
    name: str
    id: UUID
    size_mb: int
    access: Access
    description: str
    version: int  # of the row
    created_at: datetime
    updated_at: datetime
    functions: tuple[str, ...] = ()  # the first of those that mount it, by name
    functions_count: int = 0


class VolumeUnknown(ConstellationError):
    """A function mounts a volume that its namespace does not have."""

    code, http_status = "volume_unknown", 400

    def __init__(self, name: str = "") -> None:
        what = f"there is no volume {name!r}" if name else "a volume was deleted meanwhile"
        super().__init__(f"{what}; `orbit volumes list` shows those that there are", extras={"field": "mounts"})


class VolumeInUse(ConstellationError):
    """Functions, or versions of them that are kept, mount the volume in a way that forbids what was asked."""

    code, http_status = "volume_in_use", 409

    def __init__(self, name: str, *, users: Sequence[str], count: int, wanted: str) -> None:
        more = f" and {count - len(users)} more" if count > len(users) else ""
        super().__init__(
            f"volume {name!r} is mounted by {', '.join(users) or 'a function'}{more}; {wanted}",
            extras={"name": name, "users": list(users)},
        )


class VolumeTaken(ConstellationError):
    """Its access is `read_write_once`, and another function has it."""

    code, http_status = "volume_taken", 409

    def __init__(self, name: str = "") -> None:
        what = f"volume {name!r}" if name else "a volume of it"
        super().__init__(
            f"{what} is read_write_once, and another function has it; take it out of there, or make it read_write",
            extras={"field": "mounts"},
        )


class VolumesFull(ConstellationError):
    """The namespace has as many volumes as it may."""

    code, http_status = "volumes_full", 409

    def __init__(self) -> None:
        super().__init__(f"a namespace has at most {MAX_VOLUMES} volumes; delete one that nothing mounts")


def check_volume_name(name: str) -> str:
    """Return a volume's name, or raise `InvalidRequest`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"volume {name[:80]!r} must be 1 to 64 of letters, digits, '_' and '-', beginning with a letter or digit",
            field="name",
        )
    return name


def check_path(path: str) -> None:
    """Let a place in a sandbox through that is nobody else's, or raise `InvalidRequest`."""
    segments = path.split("/")[1:]
    wrong = None
    if not path.startswith("/") or len(path) > MAX_PATH_CHARS:
        wrong = f"must be absolute, of at most {MAX_PATH_CHARS} characters"
    elif any(_SEGMENT.fullmatch(each) is None for each in segments):
        wrong = "must have names of letters, digits, '.', '_' and '-' that begin with none of '.' and '-', and no '/' at its end"
    elif segments[0] in _TAKEN:
        wrong = f"lies below /{segments[0]}, which the sandbox has for other things; /mnt/{segments[-1]} is free"
    if wrong is not None:
        raise InvalidRequest(f"path {path[:80]!r} {wrong}", field="mounts")


def check_mounts(mounts: Sequence[VolumeMount], *, runtime: str, backend: str) -> None:
    """Let what a function mounts through, or raise `InvalidRequest`."""
    where = next((each for each in (backend, runtime) if each in NO_VOLUMES), None)
    if mounts and where is not None:
        raise InvalidRequest(f"{where} can not mount volumes; the backend namespace can", field="mounts")
    if len(mounts) > MAX_MOUNTS:
        raise InvalidRequest(f"{len(mounts)} mounts are more than {MAX_MOUNTS}", field="mounts")
    if len({each.volume for each in mounts}) != len(mounts):
        raise InvalidRequest("mounts name a volume twice", field="mounts")
    for each in mounts:
        check_path(each.path)
        for other in mounts:
            if other is not each and f"{other.path}/".startswith(f"{each.path}/"):
                raise InvalidRequest(f"{other.path} lies in {each.path}, which is another mount", field="mounts")


def check_access(mounts: Sequence[VolumeMount], volumes: Mapping[str, Volume]) -> None:
    """Let mounts through that their volumes allow.

    Raises:
        VolumeUnknown: one is not there.
        InvalidRequest: one may not be written to.
    """
    for each in mounts:
        volume = volumes.get(each.volume)
        if volume is None:
            raise VolumeUnknown(each.volume)
        if volume.access is Access.READ_ONLY and not each.read_only:
            raise InvalidRequest(
                f"volume {each.volume!r} is read_only: mount it with read_only, or change its access", field="mounts"
            )
