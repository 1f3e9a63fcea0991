"""`corona daemon`: flags in, exit code out. Heavy imports wait until a command runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="corona",
    help="The scheduling plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _plane() -> None:
    """The scheduling plane."""


@app.command()
def daemon(
    config: Annotated[Path | None, typer.Option(help="settings in JSON")] = None,
    comet_grpc: Annotated[
        str | None, typer.Option(help="HOST:PORT of comet; without it functions run inside this process")
    ] = None,
    state_dir: Annotated[str | None, typer.Option(help="the platform's state directory")] = None,
    pg_dsn: Annotated[str | None, typer.Option(help="the database, as this plane's role")] = None,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT for health and telemetry besides the socket")] = None,
) -> None:
    """Fire schedules."""
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  light until a command runs
    from constellation.corona.app import main as run  # noqa: PLC0415

    run_plane(
        "corona",
        partial(run, comet_grpc=comet_grpc),
        config=config,
        flags={"platform.state_dir": state_dir, "postgres.dsn": pg_dsn, "platform.admin": admin},
    )


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
