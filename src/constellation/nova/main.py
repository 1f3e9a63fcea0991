"""The command `nova`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from constellation.aurora.observability.plane import run_plane

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@cli.callback()
def nova() -> None:
    """Constellation's control plane."""


@cli.command()
def daemon(
    http: Annotated[str | None, typer.Option(help="HOST:PORT to listen on.", show_default=":9001")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file.")] = None,
    pg_dsn: Annotated[str | None, typer.Option(help="PostgreSQL to use instead of the embedded one.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where this platform keeps its state.")] = None,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT for health and telemetry besides the socket.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the control plane until SIGTERM or SIGINT."""
    from constellation.nova.app import run  # noqa: PLC0415  # --help answers without loading a server

    run_plane(
        "nova",
        run,
        config=config,
        flags={
            "nova.http": http,
            "postgres.dsn": pg_dsn,
            "platform.state_dir": None if state_dir is None else str(state_dir),
            "platform.admin": admin,
            "platform.log_level": log_level,
        },
    )


def main() -> None:
    """Run the command line."""
    cli()


if __name__ == "__main__":
    main()
