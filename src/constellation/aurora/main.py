"""`aurora daemon`: flags in, exit code out. Heavy imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="aurora",
    help="The observability plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _plane() -> None:
    """The observability plane."""


@app.command()
def daemon(
    config: Annotated[Path | None, typer.Option(help="settings in JSON")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of /metrics and /health")] = None,
    state_dir: Annotated[str | None, typer.Option(help="the platform's state directory")] = None,
    pg_dsn: Annotated[str | None, typer.Option(help="the database, as this plane's role")] = None,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT for health and telemetry besides the socket")] = None,
) -> None:
    """Serve /metrics and /health of this node, and keep house."""
    from constellation.aurora.app import main as run  # noqa: PLC0415
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  light until a command runs

    run_plane(
        "aurora",
        run,
        config=config,
        flags={
            "aurora.listen": listen,
            "platform.state_dir": state_dir,
            "postgres.dsn": pg_dsn,
            "platform.admin": admin,
        },
    )


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
