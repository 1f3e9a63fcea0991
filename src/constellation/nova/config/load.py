"""Read settings from file, environment and flags; name each value's source; refuse what is unknown."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from constellation.base.errors import ConstellationError
from constellation.base.units import format_duration, format_size, parse_duration, parse_size
from constellation.nova.config.sections import Settings
from constellation.nova.config.setting import Facts, Kind


class ConfigInvalid(ConstellationError):
    """A key nobody knows, or a value of the wrong kind or out of range."""

    code, http_status = "config_invalid", 400

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"configuration {path}: {reason}")
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each value came from ("pool.idle_ttl" -> "env NOVA_POOL_IDLE_TTL")."""

    settings: Settings
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_dsn(self) -> str:
        """The database address that this process alone was given, by flag or environment; empty when it was not.

        One in the file is read by every plane and holds the owner's password, so nova alone uses it.
        """
        return "" if self.sources.get("postgres.dsn") == "file" else self.settings.postgres.dsn


def load(*, file: Path | None, env: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Loaded:
    """Return the settings with the precedence defaults < file < environment < flags.

    Args:
        file: JSON with sections as in `configs/nova.json`; None for none.
        env: the process environment; `NAME_FILE` may name a file that holds the value.
        flags: "section.key" -> value, None values being flags that were not given.

    Raises:
        ConfigInvalid: unknown key or section (the nearest known one is named), wrong kind, or out of range.
    """
    tree = _read_file(file) if file else {}
    sections = {f.name: f for f in fields(Settings)}
    for name in tree:
        if name not in sections:
            raise ConfigInvalid(name, _unknown(name, sections))
    chosen: dict[str, object] = {}
    sources: dict[str, str] = {}
    given = {path: value for path, value in (flags or {}).items() if value is not None}
    for name, section_field in sections.items():
        section_type = _section_type(section_field)
        raw = tree.get(name, {})
        if not isinstance(raw, dict):
            raise ConfigInvalid(name, "must be an object")
        facts_by_field = {f.name: _facts(f.metadata) for f in fields(section_type)}
        known = {facts.key for facts in facts_by_field.values()}
        for key in raw:
            if key not in known:
                raise ConfigInvalid(f"{name}.{key}", _unknown(key, known))
        values: dict[str, object] = {}
        for field_name, facts in facts_by_field.items():
            path = f"{name}.{facts.key}"
            found = _lookup(path, name, facts, raw, env, given)
            if found is not None:
                value, source = found
                values[field_name] = _convert(path, facts, value)
                sources[path] = source
            else:
                sources[path] = "default"
        chosen[name] = section_type(**values)
    for path in given:
        if path not in sources:
            raise ConfigInvalid(path, _unknown(path, sources))
    return Loaded(settings=Settings(**chosen), sources=sources)  # type: ignore[arg-type]  # built from Settings' own fields


def rows(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Return (path, value as text, source) of every setting, secrets hidden; for `config show`."""
    table: list[tuple[str, str, str]] = []
    for section_field in fields(Settings):
        section = getattr(loaded.settings, section_field.name)
        for f in fields(section):
            facts = _facts(f.metadata)
            path = f"{section_field.name}.{facts.key}"
            table.append((path, _show(facts, getattr(section, f.name)), loaded.sources.get(path, "default")))
    return table


def _section_type(section_field: Field[Any]) -> type[Any]:
    return type(section_field.default)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        tree = json.loads(file.read_text())
    except OSError as error:
        raise ConfigInvalid(str(file), f"can not be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigInvalid(str(file), f"is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigInvalid(str(file), "must hold one JSON object")
    return tree


def _lookup(
    path: str, section: str, facts: Facts, raw: Mapping[str, Any], env: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[object, str] | None:
    if path in flags:
        return flags[path], "flag"
    names = [f"NOVA_{section}_{facts.key}".upper()]
    if facts.env:
        names.insert(0, facts.env)
    for variable in names:
        if variable in env:
            return env[variable], f"env {variable}"
        if f"{variable}_FILE" in env:
            try:
                return Path(env[f"{variable}_FILE"]).read_text().strip(), f"env {variable}_FILE"
            except OSError as error:
                raise ConfigInvalid(f"{variable}_FILE", f"can not be read: {error.strerror}") from error
    if facts.key in raw:
        return raw[facts.key], "file"
    return None


def _convert(path: str, facts: Facts, value: object) -> object:
    try:
        converted = _parse(facts.kind, value)
    except ValueError as error:
        raise ConfigInvalid(path, f"must be a {facts.kind}, not {value!r}" if not str(error) else str(error)) from error
    if facts.choices and converted not in facts.choices:
        raise ConfigInvalid(path, f"must be one of {', '.join(facts.choices)}, not {value!r}")
    if isinstance(converted, (int, float)) and not isinstance(converted, bool):
        if facts.low is not None and converted < facts.low:
            raise ConfigInvalid(path, f"must be at least {facts.low:g}, not {value!r}")
        if facts.high is not None and converted > facts.high:
            raise ConfigInvalid(path, f"must be at most {facts.high:g}, not {value!r}")
    return converted


def _parse(kind: Kind, value: object) -> object:
    match kind:
        case Kind.TEXT if isinstance(value, str):
            return value
        case Kind.BOOL if isinstance(value, bool):
            return value
        case Kind.BOOL if isinstance(value, str) and value.lower() in ("true", "1", "yes", "false", "0", "no"):
            return value.lower() in ("true", "1", "yes")
        case Kind.INT if isinstance(value, (int, str)) and not isinstance(value, bool):
            return int(value)
        case Kind.DURATION if isinstance(value, str):
            return parse_duration(value)
        case Kind.DURATION if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
            return 0.0
        case Kind.SIZE if isinstance(value, (int, str)) and not isinstance(value, bool):
            return parse_size(str(value))
        case _:
            raise ValueError(f"must be a {kind.value}, not {value!r}")


def _facts(metadata: Mapping[str, Any]) -> Facts:
    facts = metadata["setting"]
    assert isinstance(facts, Facts)
    return facts


def _show(facts: Facts, value: object) -> str:
    if facts.is_secret and value:
        return "(set)"
    if facts.kind is Kind.DURATION and isinstance(value, float):
        return format_duration(value)
    if facts.kind is Kind.SIZE and isinstance(value, int):
        return format_size(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(name: str, known: object) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)  # type: ignore[call-overload]  # any iterable of names
    return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key"
