"""How a function has a volume."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    volume: str  # its name, in the function's namespace
    path: str  # in the sandbox
    read_only: bool = False
