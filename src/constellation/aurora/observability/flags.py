"""The command line that every plane shares. Light: `--help` answers without loading a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFlag = Annotated[Path | None, typer.Option(help="Settings, in JSON.")]
StateDirFlag = Annotated[Path | None, typer.Option(help="Where this platform keeps its state.")]
PgDsnFlag = Annotated[str | None, typer.Option(help="PostgreSQL of the platform, instead of what nova provides.")]
AdminFlag = Annotated[str | None, typer.Option(help="HOST:PORT for health and telemetry, besides the socket.")]
LogLevelFlag = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
NativeLaneFlag = Annotated[
    bool | None,
    typer.Option("--native-lane/--no-native-lane", help="C owns the ports, or the Python servers.", show_default="on"),
]
LocalCometFlag = Annotated[
    str | None, typer.Option(help="HOST:PORT of comet; without it functions run inside this process.")
]


def plane_cli(plane: str, promise: str) -> typer.Typer:
    """Return a plane's command line, to which its one command is added; called, it runs."""
    cli = typer.Typer(
        name=plane, help=promise, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )

    @cli.callback()
    def group() -> None:  # without a callback Typer would take the only command for the whole program
        return

    return cli


def shared_flags(
    *,
    state_dir: Path | None,
    admin: str | None,
    log_level: str | None,
    pg_dsn: str | None = None,
    native_lane: bool | None = None,
) -> dict[str, object]:
    """Return the shared flags as settings, for `run_plane`; None is a flag that was not given."""
    return {
        "platform.state_dir": None if state_dir is None else str(state_dir),
        "platform.admin": admin,
        "platform.log_level": log_level,
        "platform.native_lane": native_lane,
        "postgres.dsn": pg_dsn,
    }
