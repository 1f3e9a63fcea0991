"""The settings in force: what a plane was started with, under what was set since.

What was set at run time wins over flags, environment, file and defaults, on every plane: whoever sets a value wants it
to hold. Taken back, it leaves what those say.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from constellation.base.errors import ConstellationError
from constellation.nova.config.live_keys import LIVE, Live
from constellation.nova.config.load import ConfigInvalid, Loaded, convert, facts_of, key_of, rows, shown
from constellation.nova.config.sections import Settings
from constellation.nova.config.setting import Facts

PLATFORM = ""  # the tenant of a value that is the platform's
SET = "(set)"  # all that is told of a secret

Values = Mapping[str, Mapping[str, str]]  # tenant -> key -> text


class SettingUnknown(ConstellationError):
    """No setting has this key, or it is not one that can be set while the planes run."""

    code, http_status = "setting_unknown", 404

    def __init__(self, key: str) -> None:
        near = difflib.get_close_matches(key, LIVE, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        super().__init__(
            f"no setting {key[:100]!r} can be set at run time{hint}", extras={"nearest": near[0]} if near else {}
        )


class SettingInvalid(ConstellationError):
    """The value is of the wrong kind or out of range."""

    code, http_status = "setting_invalid", 422

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"setting {key}: {reason}", extras={"field": "value"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A key that can be set at run time."""

    key: str
    live: Live
    facts: Facts
    default: str

    def parse(self, value: object) -> object:
        """Return a value as its field holds it. Raises `SettingInvalid`."""
        try:
            return convert(self.key, self.facts, value)
        except ConfigInvalid as error:
            raise SettingInvalid(self.key, error.reason) from error

    def text(self, value: object) -> str:
        """Return a field's value as the file has it."""
        return shown(self.facts, value)


def known_keys() -> Mapping[str, Known]:
    """Return every key that can be set at run time, in order."""
    return _KNOWN


def known(key: str) -> Known:
    """Return one. Raises `SettingUnknown`, which names the nearest."""
    found = _KNOWN.get(key)
    if found is None:
        raise SettingUnknown(key)
    return found


def value_of(settings: Settings, key: str) -> object:
    """Return the value of a key in settings, as its field holds it."""
    group: Any = settings
    for part in key.split("."):
        group = getattr(group, next(f.name for f in fields(group) if key_of(f) == part))
    return group


class InForce:
    """The settings of one process. Whoever must see a change at once asks it each time."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._platform = loaded.settings
        self._tenants: dict[str, Settings] = {}
        self._watchers: list[Callable[[Settings], None]] = []

    @property
    def settings(self) -> Settings:
        """The platform's, as they are now."""
        return self._platform

    def of(self, tenant: str) -> Settings:
        """A tenant's, as they are now."""
        return self._tenants.get(tenant, self._platform)

    def watch(self, watcher: Callable[[Settings], None]) -> None:
        """Tell `watcher` the platform's settings after each change of any."""
        self._watchers.append(watcher)

    def take(self, values: Values) -> None:
        """Hold exactly these values over what the process was started with.

        A key or value that this release does not know is left out: a newer one may have written it.
        """
        platform = overlaid(self.loaded.settings, values.get(PLATFORM, {}))
        tenants = {
            tenant: overlaid(platform, {key: text for key, text in own.items() if key in LIVE and LIVE[key].per_tenant})
            for tenant, own in values.items()
            if tenant != PLATFORM
        }
        if (platform, tenants) == (self._platform, self._tenants):
            return
        self._platform, self._tenants = platform, tenants
        for watcher in self._watchers:
            watcher(platform)


def overlaid(settings: Settings, values: Mapping[str, str]) -> Settings:
    """Return settings with some keys' values replaced."""
    for key, text in values.items():
        known_key = _KNOWN.get(key)
        if known_key is None or known_key.facts.is_secret:  # that one is sealed: whoever uses it opens it
            continue
        try:
            value = known_key.parse(text)
        except SettingInvalid:
            continue
        settings = _with(settings, key.split("."), value)
    return settings


def rows_with(loaded: Loaded, values: Values) -> list[tuple[str, str, str]]:
    """Return (path, value as text, source) of every setting with what is set at run time; for `config show`."""
    own = values.get(PLATFORM, {})
    held = Loaded(
        settings=overlaid(loaded.settings, own),
        sources={**loaded.sources, **{key: "run time" for key in own if key in LIVE}},
    )
    of_tenants = [
        (key, known(key).text(value_of(overlaid(held.settings, {key: text}), key)), f"run time, of tenant {tenant}")
        for tenant in sorted(values)
        if tenant != PLATFORM
        for key, text in sorted(values[tenant].items())
        if key in LIVE
    ]
    shown_rows = [
        (key, SET if source == "run time" and key in LIVE and known(key).facts.is_secret else value, source)
        for key, value, source in rows(held)
    ]
    return [*shown_rows, *of_tenants]


def _with(group: Any, path: list[str], value: object) -> Any:
    f = next(f for f in fields(group) if key_of(f) == path[0])
    return replace(group, **{f.name: value if len(path) == 1 else _with(getattr(group, f.name), path[1:], value)})


def _known(key: str, live: Live) -> Known:
    group: Any = Settings()
    *sections, last = key.split(".")
    for part in sections:
        group = getattr(group, next(f.name for f in fields(group) if key_of(f) == part))
    f = next(f for f in fields(group) if key_of(f) == last)
    facts = facts_of(f)
    assert facts is not None
    return Known(key=key, live=live, facts=facts, default=shown(facts, f.default))


_KNOWN = {key: _known(key, LIVE[key]) for key in sorted(LIVE)}
