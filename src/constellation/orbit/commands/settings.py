"""Settings that last: `config`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import msgspec
import typer

from constellation.orbit import profiles
from constellation.orbit.failures import OrbitError, nearest
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Profiles: server, key, tenant, namespace and output that last.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help=", ".join(profiles.KEYS))]


class ShownSetting(msgspec.Struct, kw_only=True, frozen=True):
    key: str
    value: str
    source: str


class ShownProfile(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    server: str
    is_current: bool


@app.command("show")
def show(context: typer.Context) -> None:
    """Show every setting and where it comes from."""
    session = Session.of(context)
    found = [
        ShownSetting(key=key, value=profiles.redacted(key, setting.value), source=setting.source)
        for key, setting in session.settings.items()
    ]
    columns = [
        Column[ShownSetting]("KEY", lambda setting: setting.key),
        Column[ShownSetting]("VALUE", lambda setting: setting.value),
        Column[ShownSetting]("FROM", lambda setting: setting.source),
    ]
    session.output.rows(found, columns, empty="Nothing is set.")


@app.command("set")
def set_(
    context: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help='"-" reads it from standard input, out of the history')],
) -> None:
    """Store a setting in the profile in use (or the one that --profile names)."""
    if value == "-":
        value = typer.prompt(key, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not value:
        raise OrbitError(f"no value for {key}", hint=f"`orbit config unset {key}` removes it.")
    _store(context, key, value)


@app.command("unset")
def unset(context: typer.Context, key: Key) -> None:
    """Remove a setting from the profile."""
    _store(context, key, None)


@app.command("use")
def use(context: typer.Context, name: Annotated[str, typer.Argument(metavar="PROFILE")]) -> None:
    """Choose the profile that is used when nothing names one."""
    session = Session.of(context)
    path = session.host.config_path
    stored = profiles.load(path)
    if name not in stored.entries and name != profiles.DEFAULT_PROFILE:
        hint = nearest(name, stored.entries) or f"`orbit config set --profile {name} server URL` makes it."
        raise OrbitError(f"there is no profile {name!r}", hint=hint)
    profiles.save(path, dataclasses.replace(stored, current=name))
    session.output.done(f"using {name}")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List profiles."""
    session = Session.of(context)
    stored = profiles.load(session.host.config_path)
    found = [
        ShownProfile(name=name, server=entry.get("server", ""), is_current=name == stored.current)
        for name, entry in sorted(stored.entries.items())
    ]
    columns = [
        Column[ShownProfile]("NAME", lambda profile: profile.name),
        Column[ShownProfile]("SERVER", lambda profile: profile.server),
        Column[ShownProfile]("CURRENT", lambda profile: profile.is_current),
    ]
    session.output.rows(found, columns, empty="There are no profiles; `orbit config set server URL` makes one.")


@app.command("path")
def path(context: typer.Context) -> None:
    """Print where the config file is."""
    session = Session.of(context)
    session.output.line(str(session.host.config_path))


def _store(context: typer.Context, key: str, value: str | None) -> None:
    profile = Session.of(context).store(key, value)
    shown = "removed" if value is None else profiles.redacted(key, value)
    # Not through the session's output: its settings may lie in a profile that is only being made.
    typer.echo(f"{profile}.{key}: {shown}", err=True)
