"""`function.yaml`: what a function is, beside its code. Its fields are those of the API, and some of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml

from constellation.client import FunctionCreate, FunctionUpdate
from constellation.orbit.bundle import MANIFEST_NAME
from constellation.orbit.failures import OrbitError, nearest
from constellation.orbit.subscribing import Wanted

T = TypeVar("T")
# The code comes from the directory, so the API's own fields for it are not taken from the manifest.
FIELDS = tuple(name for name in FunctionCreate.__struct_fields__ if name not in ("code", "files", "archive"))
MERGED = ("env", "async_destinations")
OWN_FIELDS = ("files", "subscriptions", "databases")


Alias = Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,39}$")]  # of a database, as env names it


class FilePatterns(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which files are the code; see `bundle.collect`."""

    include: tuple[str, ...] = ("**",)
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the manifest states; what it leaves out stays as it is, or gets the platform's default."""

    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict)  # of FIELDS
    files: FilePatterns = field(default_factory=FilePatterns)
    subscriptions: tuple[Wanted, ...] = ()

    def with_facts(self, facts: Mapping[str, Any]) -> Manifest:
        """Return the manifest with some facts replaced; those of `MERGED` are merged."""
        merged = {name: {**self.facts.get(name, {}), **facts[name]} for name in MERGED if name in facts}
        return replace(self, facts={**self.facts, **facts, **merged})

    @property
    def is_image(self) -> bool:
        """Is the function a container image, and no code of the directory's?"""
        return "image" in self.facts

    def creation(self, *, files: dict[str, str]) -> FunctionCreate:
        return self._convert({**self.facts, **({} if self.is_image else {"files": files})}, FunctionCreate)

    def update(self, facts: Mapping[str, Any], *, version: int) -> FunctionUpdate:
        return self._convert({**facts, "version": version}, FunctionUpdate)

    def _convert(self, facts: Mapping[str, Any], kind: type[T]) -> T:
        try:
            return msgspec.convert(facts, kind)
        except msgspec.ValidationError as error:
            hint = "Put values of `env` in quotes." if "$.env" in str(error) else ""
            raise OrbitError(f"{self.path}: {error}", hint=hint) from error


def read(directory: Path) -> Manifest:
    """Read the manifest of a directory; one that is not there states nothing.

    Raises:
        OrbitError: it is not YAML, or has a field that does not exist.
    """
    path = directory / MANIFEST_NAME
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        return Manifest(path=path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OrbitError(f"{path}: {error}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise OrbitError(f"{path} must be a mapping of fields")
    for name in data:
        if name not in (*FIELDS, *OWN_FIELDS):
            raise OrbitError(f"{path}: unknown field {name!r}", hint=nearest(str(name), (*FIELDS, *OWN_FIELDS)))
    files = _own(path, data, "files", FilePatterns, {})
    subscriptions = _own(path, data, "subscriptions", tuple[Wanted, ...], [])
    env = data.get("env")
    if env is None:
        data.pop("env", None)
    elif not isinstance(env, dict):
        raise OrbitError(f"{path}: env must be a mapping of names to text")
    bound = _own(path, data, "databases", dict[Alias, str], {})
    if bound:
        data["env"] = {f"DATABASE_URL_{alias.upper()}": f"$DATABASE:{name}" for alias, name in bound.items()} | (
            env or {}
        )
    return Manifest(path=path, facts=data, files=files, subscriptions=subscriptions)


def _own(path: Path, data: dict[str, Any], name: str, kind: Any, absent: Any) -> Any:
    try:
        return msgspec.convert(data.pop(name, absent), kind)
    except msgspec.ValidationError as error:
        raise OrbitError(f"{path}: {name}: {error}") from error


def text_of(*, name: str, runtime: str, handler: str) -> str:
    """Return the manifest that `orbit init` writes."""
    return f"""# What `orbit deploy` makes of this directory. Fields that are left out get the platform's defaults.
name: {name}
runtime: {runtime}
handler: {handler}
memory_mb: 128
timeout_s: 30
env: {{}}
files:
  include: ["**"]
  exclude: ["tests/"]
"""
