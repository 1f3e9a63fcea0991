"""What administrators set while the platform runs: `settings`."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.client import SettingBody, SettingChangeBody
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(
    help="Settings that hold on every plane within a second; they win over flags, environment and file.",
    no_args_is_help=True,
)

Key = Annotated[str, typer.Argument(metavar="KEY", help="such as builds.timeout; `orbit settings list` has them")]
Of = Annotated[str | None, typer.Option("--of", metavar="TENANT", help="of this tenant instead of the platform")]
Note = Annotated[str, typer.Option(help="why, for the history")]
Match = Annotated[int | None, typer.Option("--if-version", min=0, help="only while it is at this version")]


@app.command("list")
def list_(
    context: typer.Context,
    of: Of = None,
    search: Annotated[str | None, typer.Option(help="part of the key, or of what it does")] = None,
    *,
    is_set: Annotated[bool, typer.Option("--set", help="only what is set")] = False,
) -> None:
    """List what can be set, what holds, and where that is from."""
    session = Session.of(context)
    columns = [
        Column[SettingBody]("KEY", lambda each: each.key),
        Column[SettingBody]("VALUE", lambda each: each.value),
        Column[SettingBody]("SOURCE", lambda each: each.source),
        Column[SettingBody]("DEFAULT", lambda each: each.default),
        Column[SettingBody]("ABOUT", lambda each: each.about),
    ]
    found = list(session.client.list_settings(tenant=of, search=search, is_set=is_set))
    session.output.rows(found, columns, empty="Nothing is set." if is_set else "No setting is like that.")


@app.command("get")
def get(context: typer.Context, key: Key, of: Of = None) -> None:
    """Show one: what it does, its range, what holds, and who set it."""
    session = Session.of(context)
    session.output.item(session.client.get_setting(key, tenant=of))


@app.command("set")
def set_(
    context: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="as in the configuration's file: 30s, 128MiB, 20")],
    of: Of = None,
    note: Note = "",
    if_version: Match = None,
) -> None:
    """Set a value."""
    session = Session.of(context)
    made = session.client.put_setting(key, value, note=note, tenant=of, if_match=_tag(if_version))
    session.output.made(made, _told(made))


@app.command("unset")
def unset(context: typer.Context, key: Key, of: Of = None, if_version: Match = None) -> None:
    """Go back to what the planes are configured with."""
    session = Session.of(context)
    made = session.client.unset_setting(key, tenant=of, if_match=_tag(if_version))
    session.output.made(made, _told(made))


@app.command("history")
def history(context: typer.Context, key: Key, of: Of = None) -> None:
    """Show who set it to what, newest first."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[SettingChangeBody]("VERSION", lambda each: each.version),
        Column[SettingChangeBody]("WHEN", lambda each: output.age(each.at)),
        Column[SettingChangeBody]("WHO", lambda each: each.actor),
        Column[SettingChangeBody]("WAS", lambda each: _value(each.was)),
        Column[SettingChangeBody]("VALUE", lambda each: _value(each.value)),
        Column[SettingChangeBody]("NOTE", lambda each: each.note),
    ]
    output.rows(list(session.client.list_setting_changes(key, tenant=of)), columns, empty=f"{key} was never set.")


@app.command("revert")
def revert(
    context: typer.Context,
    key: Key,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=0, help="of the history; 0: before all of it")],
    of: Of = None,
    note: Note = "",
    if_version: Match = None,
) -> None:
    """Set it to what it was at an earlier version."""
    session = Session.of(context)
    made = session.client.revert_setting(key, version, note=note, tenant=of, if_match=_tag(if_version))
    session.output.made(made, _told(made))


def _tag(version: int | None) -> str | None:
    return None if version is None else f'"{version}"'


def _value(value: str | None) -> str:
    return "(as configured)" if value is None else value


def _told(setting: SettingBody) -> str:
    return f"{setting.key} is {setting.value} ({setting.source}), version {setting.version}"
