"""Where orbit's settings come from: flags, then the environment, then a profile in the config file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from constellation.client import DEFAULT_SERVER
from constellation.orbit.failures import OrbitError, nearest

KEYS = ("server", "api_key", "token", "tenant", "namespace", "output")
OUTPUTS = ("table", "json", "yaml")
DEFAULT_PROFILE = "default"
ENVIRONMENT = {
    "server": "ZENITH_URL",
    "api_key": "NOVA_API_KEY",
    "token": "NOVA_TOKEN",
    "tenant": "NOVA_TENANT",
    "namespace": "NOVA_NAMESPACE",
    "output": "NOVA_OUTPUT",
}
_DEFAULTS = {"server": DEFAULT_SERVER, "output": "table"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    value: str
    source: str  # "flag", the variable's name, "profile NAME" or "default"
    rank: int  # 0: the strongest source


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """The config file. A change is a new value; `save` writes it."""

    current: str = DEFAULT_PROFILE
    entries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def with_value(self, profile: str, key: str, value: str | None) -> Profiles:
        """Return the profiles with one key set, or removed for None."""
        check_key(key)
        if key == "output" and value is not None:
            check_output(value)
        kept = {name: text for name, text in self.entries.get(profile, {}).items() if name != key}
        entry = kept if value is None else {**kept, key: value}
        return replace(self, entries={**self.entries, profile: entry})


def config_path(env: Mapping[str, str], home: Path) -> Path:
    """Return where the config file is: ORBIT_CONFIG, else below XDG_CONFIG_HOME or ~/.config."""
    if env.get("ORBIT_CONFIG"):
        return Path(env["ORBIT_CONFIG"])
    base = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
    return base / "orbit" / "config.toml"


def load(path: Path) -> Profiles:
    """Read the config file; one that does not exist is empty.

    Raises:
        OrbitError: it can not be read, is not TOML, or has a key that orbit does not know.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Profiles()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OrbitError(f"{path}: {error}") from error
    current, entries = data.get("current", DEFAULT_PROFILE), data.get("profiles", {})
    for name in data:
        if name not in ("current", "profiles"):
            raise OrbitError(f"{path}: unknown key {name!r}", hint="The file has `current` and [profiles.NAME] tables.")
    if not isinstance(current, str) or not isinstance(entries, dict):
        raise OrbitError(f"{path}: `current` is a name and `profiles` are tables")
    for profile, entry in entries.items():
        if not isinstance(entry, dict):
            raise OrbitError(f"{path}: profiles.{profile} must be a table")
        for key, value in entry.items():
            check_key(key)
            if not isinstance(value, str):
                raise OrbitError(f"{path}: profiles.{profile}.{key} must be text in quotes")
    return Profiles(current=current, entries=entries)


def save(path: Path, profiles: Profiles) -> None:
    """Write the config file whole, readable by its owner only: it holds keys."""
    lines = [f"current = {json.dumps(profiles.current, ensure_ascii=False)}"]
    for profile in sorted(profiles.entries):
        lines += ["", f"[profiles.{json.dumps(profile, ensure_ascii=False)}]"]
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in profiles.entries[profile].items()
        ]
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        partial.replace(path)
    except OSError as error:
        raise OrbitError(f"{path} can not be written: {error.strerror}") from error


def resolve(
    *, flags: Mapping[str, str], env: Mapping[str, str], profiles: Profiles, profile: str | None = None
) -> dict[str, Setting]:
    """Return each setting that has a value, with where it came from.

    Raises:
        OrbitError: the named profile does not exist, or the output format is unknown.
    """
    wanted = profile or env.get("ORBIT_PROFILE") or profiles.current
    if wanted not in profiles.entries and wanted != DEFAULT_PROFILE:
        raise OrbitError(f"there is no profile {wanted!r}", hint=nearest(wanted, profiles.entries))
    entry = profiles.entries.get(wanted, {})
    found: dict[str, Setting] = {}
    for key in KEYS:
        value = _strongest(
            ("flag", flags.get(key)),
            (ENVIRONMENT[key], env.get(ENVIRONMENT[key])),
            (f"profile {wanted}", entry.get(key)),
            ("default", _DEFAULTS.get(key)),
        )
        # A namespace belongs to a tenant: one that was set for another tenant does not follow to this one.
        is_foreign = (
            key == "namespace" and value is not None and "tenant" in found and value.rank > found["tenant"].rank
        )
        if value is not None and not is_foreign:
            found[key] = value
    check_output(found["output"].value)
    return found


def _strongest(*offers: tuple[str, str | None]) -> Setting | None:
    """Return the first offer that has a value."""
    ranked = enumerate(offers)
    return next((Setting(value=value, source=source, rank=rank) for rank, (source, value) in ranked if value), None)


def credential(settings: Mapping[str, Setting]) -> str | None:
    """Return what is presented: the key or the session's token, whichever was set nearer; of two alike the token."""
    offers = [settings[key] for key in ("token", "api_key") if key in settings]
    return min(offers, key=lambda setting: setting.rank).value if offers else None


def check_key(key: str) -> None:
    if key not in KEYS:
        raise OrbitError(f"unknown setting {key!r}", hint=nearest(key, KEYS) or f"Settings are {', '.join(KEYS)}.")


def check_output(output: str) -> None:
    if output not in OUTPUTS:
        raise OrbitError(f"unknown output {output!r}", hint=f"Choose one of {', '.join(OUTPUTS)}.")


def redacted(key: str, value: str) -> str:
    """Return a value as it may be printed: of a key only its first characters."""
    return f"{value[:6]}..." if key in ("api_key", "token") else value
