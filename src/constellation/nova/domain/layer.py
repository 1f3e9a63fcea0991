"""Layers: files that functions share, what they may hold, and how a function names them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from constellation.base.errors import ConstellationError, InvalidRequest, PayloadTooLarge
from constellation.nova.domain.deploy import check_path, refuse_file_as_directory
from constellation.nova.domain.layer_pin import LayerPin

MAX_LAYER_BYTES = 64 << 20  # of one version, unpacked; chosen: numpy with its libraries fits
MAX_LAYER_FILES = 5000
MAX_LAYERS = 6  # of a function
MAX_FUNCTION_BYTES = 256 << 20  # of all layers of a function together
NAME = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
NO_LAYERS = frozenset({"wasm", "image"})  # backends and runtimes that show no other files than the code
_NAME = re.compile(NAME)
_REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,63})(?::(?P<version>[1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One version of a layer, without its files. It never changes."""

    tenant: str
    name: str
    version: int
    hash: str
    description: str
    runtimes: tuple[str, ...]  # that may use it; none: all
    size_bytes: int
    files_count: int
    created_at: datetime

    @property
    def pin(self) -> LayerPin:
        return LayerPin(name=self.name, version=self.version, hash=self.hash)


class LayerUnknown(ConstellationError):
    """A function names a layer, or a version of one, that its tenant does not have."""

    code, http_status = "layer_unknown", 400

    def __init__(self, reference: str = "") -> None:
        what = f"there is no layer {reference!r}" if reference else "a layer was deleted meanwhile"
        super().__init__(f"{what}; `orbit layers list` shows those that there are", extras={"field": "layers"})


class LayerInUse(ConstellationError):
    """Functions, or versions of them that are kept, need the layer, so it stays."""

    code, http_status = "layer_in_use", 409

    def __init__(self, name: str, *, users: Sequence[str], count: int) -> None:
        more = f" and {count - len(users)} more" if count > len(users) else ""
        super().__init__(
            f"layer {name!r} is used by {', '.join(users) or 'a function'}{more}; "
            "deploy them without it and delete the versions that have it first",
            extras={"name": name, "users": list(users)},
        )


def check_layer_name(name: str) -> str:
    """Return a layer's name, or raise `InvalidRequest`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"layer {name[:80]!r} must be 1 to 64 of letters, digits, '_' and '-', beginning with a letter or digit",
            field="name",
        )
    return name


def read_reference(text: str) -> tuple[str, int | None]:
    """Return name and version of "name:3", or of "name", which stands for the newest; raise `InvalidRequest`."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise InvalidRequest(f'layer {text[:80]!r} must look like "name" or "name:3"', field="layers")
    return found["name"], int(found["version"]) if found["version"] else None


def check_files(files: Mapping[str, bytes]) -> None:
    """Let the files of a layer through.

    Raises:
        InvalidRequest: none, too many, or a bad path.
        PayloadTooLarge: they are more than 64 MiB.
    """
    if not files:
        raise InvalidRequest("a layer needs at least one file", field="files")
    if len(files) > MAX_LAYER_FILES:
        raise InvalidRequest(f"{len(files)} files are more than {MAX_LAYER_FILES}", field="files")
    for path in files:
        check_path(path)
    refuse_file_as_directory(files)
    if sum(map(len, files.values())) > MAX_LAYER_BYTES:
        raise PayloadTooLarge(limit_bytes=MAX_LAYER_BYTES)


def check_uses(layers: Sequence[Layer], *, runtime: str, backend: str) -> None:
    """Let the layers of a function through, or raise `InvalidRequest`."""
    wrong = None
    where = next((each for each in (backend, runtime) if each in NO_LAYERS), None)
    unfit = next((each for each in layers if each.runtimes and runtime not in each.runtimes), None)
    if layers and where is not None:
        wrong = f"{where} can not show layers"
    elif len(layers) > MAX_LAYERS:
        wrong = f"{len(layers)} layers are more than {MAX_LAYERS}"
    elif len({each.name for each in layers}) != len(layers):
        wrong = "layers name one twice"
    elif unfit is not None:
        wrong = f"layer {unfit.pin.shown} is for {', '.join(unfit.runtimes)}, not for {runtime}"
    elif sum(each.size_bytes for each in layers) > MAX_FUNCTION_BYTES:
        wrong = f"the layers together hold more than {MAX_FUNCTION_BYTES >> 20} MiB"
    if wrong is not None:
        raise InvalidRequest(wrong, field="layers")


def overlaid(layers: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return which layer each path is shown of, the last that has it; a file hides a directory of its name, and the
    other way round.

    Args:
        layers: the paths of the files of each.
    """
    shown: dict[str, int] = {}
    directories: set[str] = set()
    for number, paths in enumerate(layers):
        for path in paths:
            if path in directories:
                shown = {each: owner for each, owner in shown.items() if not each.startswith(f"{path}/")}
                directories = {parent for each in shown for parent in _parents(each)}
            for parent in _parents(path):
                shown.pop(parent, None)
                directories.add(parent)
            shown[path] = number
    return shown


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
