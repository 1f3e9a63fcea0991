"""Read settings from file, environment and flags; name each value's source; refuse what is unknown."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from constellation.base.errors import ConstellationError
from constellation.base.units import format_duration, format_size, parse_duration, parse_size
from constellation.nova.config.issuers import issuers_of
from constellation.nova.config.oidc import providers_of
from constellation.nova.config.sections import Settings
from constellation.nova.config.setting import Facts, Kind
from constellation.nova.config.tls import HostCertificate, KeyFault

_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,240}[a-z0-9_])?")


class ConfigInvalid(ConstellationError):
    """A key nobody knows, or a value of the wrong kind or out of range."""

    code, http_status = "config_invalid", 400

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"configuration {path}: {reason}")
        self.path, self.reason = path, reason


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
    given = {path: value for path, value in (flags or {}).items() if value is not None}
    reading = _Reading(env=env, flags=given)
    settings = reading.group("", Settings, tree)
    for path in given:
        if path not in reading.sources:
            raise ConfigInvalid(path, _unknown(path, reading.sources))
    return Loaded(settings=settings, sources=reading.sources)


@dataclass(slots=True, kw_only=True)
class _Reading:
    """One load: where values come from besides the file, and where each was found."""

    env: Mapping[str, str]
    flags: Mapping[str, object]
    sources: dict[str, str] = field(default_factory=dict)

    def group(self, prefix: str, kind: type[Any], raw: object) -> Any:
        """Return the settings below `prefix` ("" or "zenith." and so on), which the file gives as `raw`."""
        if not isinstance(raw, dict):
            raise ConfigInvalid(prefix.rstrip("."), "must be an object")
        declared = {key_of(f): f for f in fields(kind)}
        for key in raw:
            if key not in declared:
                raise ConfigInvalid(f"{prefix}{key}", _unknown(key, declared))
        values: dict[str, object] = {}
        for key, f in declared.items():
            path = f"{prefix}{key}"
            facts = facts_of(f)
            if facts is None:
                values[f.name] = self.group(f"{path}.", type(f.default), raw.get(key, {}))
                continue
            found = self._look_up(path, facts, raw)
            self.sources[path] = "default" if found is None else found[1]
            if found is not None:
                values[f.name] = convert(path, facts, found[0])
        try:
            return kind(**values)
        except KeyFault as fault:
            raise ConfigInvalid(f"{prefix}{fault.key}", str(fault)) from fault

    def _look_up(self, path: str, facts: Facts, raw: Mapping[str, Any]) -> tuple[object, str] | None:
        if path in self.flags:
            return self.flags[path], "flag"
        names = [f"NOVA_{path}".replace(".", "_").upper()]
        if facts.env:
            names.insert(0, facts.env)
        for variable in names:
            if variable in self.env:
                return self.env[variable], f"env {variable}"
            # A path is not itself kept in a file; NOVA_..._KEY_FILE would be taken for the key's own.
            if facts.kind is not Kind.PATH and f"{variable}_FILE" in self.env:
                try:
                    return Path(self.env[f"{variable}_FILE"]).read_text().strip(), f"env {variable}_FILE"
                except OSError as error:
                    raise ConfigInvalid(f"{variable}_FILE", f"can not be read: {error.strerror}") from error
        if facts.key in raw:
            return raw[facts.key], "file"
        return None


def rows(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Return (path, value as text, source) of every setting, secrets hidden; for `config show`."""
    return [
        (path, shown(facts, value), loaded.sources.get(path, "default"))
        for path, facts, value in _leaves("", loaded.settings)
    ]


def _leaves(prefix: str, group: Any) -> Iterator[tuple[str, Facts, object]]:
    for f in fields(group):
        path, value, facts = f"{prefix}{key_of(f)}", getattr(group, f.name), facts_of(f)
        if facts is None:
            yield from _leaves(f"{path}.", value)
        else:
            yield path, facts, value


def key_of(declared: Field[Any]) -> str:
    """Return what a field is called in the file."""
    facts = facts_of(declared)
    return declared.name if facts is None else facts.key


def facts_of(declared: Field[Any]) -> Facts | None:
    """Return what is known of a setting; None for a group of them."""
    facts = declared.metadata.get("setting")
    assert facts is None or isinstance(facts, Facts)
    return facts


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


def convert(path: str, facts: Facts, value: object) -> object:
    """Return a value as its field holds it. Raises `ConfigInvalid`."""
    if value in facts.also:
        return value
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
            return int(_number(int, value))
        case Kind.NUMBER if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            number = float(_number(float, value))
            if not math.isfinite(number):
                raise ValueError
            return number
        case Kind.DURATION if isinstance(value, str):
            return parse_duration(value)
        case Kind.DURATION if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
            return 0.0
        case Kind.SIZE if isinstance(value, (int, str)) and not isinstance(value, bool):
            return parse_size(str(value))
        case Kind.PATH:
            return _path(value)
        case Kind.URL:
            return _url(value)
        case Kind.CERTIFICATES:
            return _certificates(value)
        case Kind.ISSUERS:
            return issuers_of(value)
        case Kind.PROVIDERS:
            return providers_of(value)
        case _:
            raise ValueError(f"must be a {kind.value}, not {value!r}")


def _number(kind: type[int | float], value: float | str) -> int | float:
    try:
        return kind(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"must be a {'whole ' if kind is int else ''}number, not {value!r}") from error


def _url(value: object) -> str:
    # What is given by mistake may hold a password: it is never repeated.
    refusal = f"must be a {Kind.URL.value}, without a user, a query or a fragment"
    if not isinstance(value, str) or not value.isprintable() or len(value) > 500 or " " in value:
        raise ValueError(refusal)
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError(refusal) from None
    if value and (not is_one or "@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError(refusal)
    return value


def _path(value: object) -> str:
    # What is given by mistake may be the key itself: it is never repeated.
    if not isinstance(value, str) or (value and (not value.startswith("/") or not value.isprintable())):
        raise ValueError(f"must be an {Kind.PATH.value}")
    return value


def _certificates(value: object) -> tuple[HostCertificate, ...]:
    if isinstance(value, str):  # of the environment
        try:
            value = json.loads(value or "{}")
        except ValueError as error:
            raise ValueError(f"must be an {Kind.CERTIFICATES.value}") from error
    if not isinstance(value, dict):
        raise ValueError(f"must be an {Kind.CERTIFICATES.value}")  # noqa: TRY004  # the loader's word for a wrong value
    return tuple(_certificate(host, files) for host, files in value.items())


def _certificate(host: str, files: object) -> HostCertificate:
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name in lower case, nor *.rest")
    if not isinstance(files, dict) or set(files) != {"cert", "key"}:
        raise ValueError(f"{host}: must have exactly the keys cert and key")
    try:
        return HostCertificate(host=host, cert=_file(files["cert"]), key=_file(files["key"]))
    except ValueError as error:
        raise ValueError(f"{host}: cert and key: each {error}") from error


def _file(value: object) -> str:
    path = _path(value)
    if not path:
        raise ValueError(f"must be an {Kind.PATH.value}")
    return path


def shown(facts: Facts, value: object) -> str:
    """Return a field's value as the file has it; a secret's is not told."""
    if facts.is_secret and value:
        return "(set)"
    if facts.kind is Kind.DURATION and isinstance(value, float):
        return format_duration(value)
    if facts.kind is Kind.SIZE and isinstance(value, int):
        return format_size(value)
    if facts.kind in (Kind.ISSUERS, Kind.PROVIDERS) and isinstance(value, tuple):
        return ", ".join(f"{each.name}: {each.issuer}" for each in value)
    if facts.kind is Kind.CERTIFICATES and isinstance(value, tuple):
        return ", ".join(f"{each.host}: {each.cert}" for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(name: str, known: object) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)  # type: ignore[call-overload]  # any iterable of names
    return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key"
