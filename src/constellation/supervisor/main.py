"""The command `constellation`."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from constellation.base.errors import ConstellationError
from constellation.base.statedir import default_state_dir

cli = typer.Typer(
    name="constellation", help="A whole platform with one command.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
config_cli = typer.Typer(help="The configuration.", no_args_is_help=True)
db_cli = typer.Typer(help="The database.", no_args_is_help=True)
cli.add_typer(config_cli, name="config")
users_cli = typer.Typer(help="Users, from the host of the platform itself.", no_args_is_help=True)
cli.add_typer(db_cli, name="db")
cli.add_typer(users_cli, name="users")

_FOLLOW_S = 0.25
_NOT_RUNNING = 3  # as systemctl status says it


class Auth(StrEnum):
    LOOPBACK = "loopback"
    REQUIRED = "required"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


DataDir = Annotated[Path | None, typer.Option(help="Where the platform keeps everything it writes.")]
Config = Annotated[Path | None, typer.Option(help="Settings, JSON.")]


def _data_dir(given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    configured = os.environ.get("NOVA_STATE_DIR")
    return Path(configured).absolute() if configured else default_state_dir(os.environ, uid=os.getuid())


@cli.command()
def up(
    listen: Annotated[list[str] | None, typer.Option(help="HOST:PORT of the API; more than once.")] = None,
    data_dir: DataDir = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the platform is ready.")] = False,
    pg_dsn: Annotated[str | None, typer.Option(help="PostgreSQL to use instead of the embedded one.")] = None,
    auth: Annotated[Auth | None, typer.Option(help="loopback trusts local callers of this user.")] = None,
    native_lane: Annotated[
        bool | None,
        typer.Option("--native-lane/--no-native-lane", help="C owns the ports, or the Python servers."),
    ] = None,
    config: Config = None,
    default_ports: Annotated[bool, typer.Option("--default-ports", hidden=True)] = False,
    announce_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start the platform; with --detach, return once it is ready."""
    import anyio  # noqa: PLC0415  # help and errors come without loading all this

    from constellation.aurora.logging.setup import configure  # noqa: PLC0415
    from constellation.nova.config.load import load  # noqa: PLC0415
    from constellation.supervisor import up as start  # noqa: PLC0415
    from constellation.supervisor.errors import StartFailed  # noqa: PLC0415

    place = _data_dir(data_dir)
    if pg_dsn is not None:
        os.environ["NOVA_PG_DSN"] = pg_dsn  # as if it had been configured there; it reaches nova alone
    loaded = load(file=config, env=os.environ)
    is_default = default_ports or (not listen and place == default_state_dir(os.environ, uid=os.getuid()))
    options = start.UpOptions(
        listen=listen or [], data_dir=place, is_default_place=is_default, config=config,
        pg_dsn=pg_dsn, auth=None if auth is None else auth.value, native_lane=native_lane,
    )  # fmt: skip
    if announce_fd is None:
        start.check_host()
    if detach:
        outcome = start.detach(start.foreground_words(options), data_dir=place)
        sys.stdout.write(start.describe(outcome))
        if outcome.failure is not None:
            raise StartFailed(outcome.failure)
        return
    configure(plane="supervisor", level="info", json=False)

    def tell(outcome: start.Outcome) -> None:
        sys.stdout.write(start.describe(outcome))
        sys.stdout.flush()

    announce = tell if announce_fd is None else start.announce_on(announce_fd)

    async def run() -> None:
        await start.up(options, loaded, env=os.environ, announce=announce, is_shown=announce_fd is None)

    anyio.run(run)


@cli.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the platform, Postgres last, and wait until all of it is gone."""
    import anyio  # noqa: PLC0415

    from constellation.supervisor.stop import stop_platform  # noqa: PLC0415

    place = _data_dir(data_dir)
    was_there = anyio.run(stop_platform, place)
    sys.stdout.write("Constellation is stopped\n" if was_there else f"Nothing runs in {place}\n")


@cli.command()
def status(
    data_dir: DataDir = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="table or json.")] = Format.TABLE,
) -> None:
    """Show the planes; exit with 3 when the platform is not running."""
    from constellation.supervisor.show import as_json, as_table, statuses  # noqa: PLC0415

    planes = statuses(_data_dir(data_dir))
    if output is Format.JSON:
        sys.stdout.write(as_json(planes) + "\n")
    else:
        sys.stdout.write((as_table(planes) if planes else "Constellation is not running") + "\n")
    if not any(plane.state != "stopped" for plane in planes):
        raise typer.Exit(_NOT_RUNNING)


@cli.command()
def logs(
    planes: Annotated[list[str] | None, typer.Argument(help="Only these planes.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the logs grow.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print what the planes printed, by time."""
    from constellation.supervisor.errors import NoSuchPlane  # noqa: PLC0415
    from constellation.supervisor.output import Follower, merged  # noqa: PLC0415
    from constellation.supervisor.plan import PLANES  # noqa: PLC0415

    for name in planes or ():
        if name not in PLANES:
            raise NoSuchPlane(name, known=list(PLANES))
    place = _data_dir(data_dir) / "logs"
    paths = [(name, place / f"{name}.log") for name in planes or PLANES]
    followers = [Follower(name, path) for name, path in paths]
    for line in merged(paths):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    try:
        while follow:
            for follower in followers:
                sys.stdout.writelines(line + "\n" for line in follower.lines())
            sys.stdout.flush()
            time.sleep(_FOLLOW_S)
    except KeyboardInterrupt:
        return


@config_cli.command("show")
def show_config(
    config: Config = None,
    data_dir: DataDir = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="table or json.")] = Format.TABLE,
) -> None:
    """Print every setting, its value, and where it came from: of what is set more than once the last of these holds.

    default, file, env, flag, run time (`orbit settings`), and for one tenant what is set of it.
    """
    import json  # noqa: PLC0415

    import anyio  # noqa: PLC0415

    from constellation.nova.config.live import rows_with  # noqa: PLC0415
    from constellation.nova.config.load import load  # noqa: PLC0415
    from constellation.nova.store.settings import values_of  # noqa: PLC0415

    loaded = load(file=config, env=os.environ)
    configured = loaded.settings.platform.state_dir
    place = Path(configured) if configured and data_dir is None else _data_dir(data_dir)
    values = anyio.run(values_of, place)
    if values is None:
        sys.stderr.write(f"no platform answers in {place}: what was set at run time is not shown\n")
    table = rows_with(loaded, values or {})
    if output is Format.JSON:
        found = [{"key": key, "value": value, "source": source} for key, value, source in table]
        sys.stdout.write(json.dumps({"settings": found}) + "\n")
        return
    widths = [max(len(row[column]) for row in table) for column in range(2)]
    for key, value, source in table:
        sys.stdout.write(f"{key.ljust(widths[0])}  {value.ljust(widths[1])}  {source}\n")


@db_cli.command("roles")
def db_roles(data_dir: DataDir = None, config: Config = None) -> None:
    """Print the SQL that makes the planes' roles, for a database whose user may not."""
    from constellation.base.statedir import make_private  # noqa: PLC0415
    from constellation.nova.config.load import load  # noqa: PLC0415
    from constellation.nova.store.bootstrap import plane_passwords  # noqa: PLC0415
    from constellation.nova.store.roles import roles_sql  # noqa: PLC0415

    prefix = load(file=config, env=os.environ).settings.postgres.role_prefix
    sys.stdout.write(roles_sql(plane_passwords(make_private(_data_dir(data_dir))), prefix=prefix))


@users_cli.command("add-admin")
def add_admin(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    data_dir: DataDir = None,
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input, without asking.")
    ] = False,
) -> None:
    """Make an administrator of the whole platform, or set the password of one who forgot it."""
    import anyio  # noqa: PLC0415

    from constellation.base.clock import SystemClock  # noqa: PLC0415
    from constellation.nova.store import admins  # noqa: PLC0415

    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)

    async def run() -> bool:
        return await admins.add_admin(_data_dir(data_dir), name, password, clock=SystemClock())

    done = "is an administrator" if anyio.run(run) else "has this password now; its sessions ended"
    sys.stdout.write(f"{name} {done}. Log in with: orbit login {name}\n")


def main() -> None:
    """Run the command line; a refusal is one clear message and exit code 1."""
    try:
        cli()
    except ConstellationError as error:
        sys.stderr.write(f"constellation: {error}\n")
        raise SystemExit(1) from error
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `logs | head`: the reader has seen enough
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
