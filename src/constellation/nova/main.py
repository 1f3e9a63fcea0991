"""The command `nova`."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.aurora.observability.flags import (
    AdminFlag,
    ConfigFlag,
    LogLevelFlag,
    PgDsnFlag,
    StateDirFlag,
    plane_cli,
    shared_flags,
)

main = plane_cli("nova", "The control plane.")


@main.command()
def daemon(
    http: Annotated[str | None, typer.Option(help="HOST:PORT to listen on.", show_default=":9001")] = None,
    config: ConfigFlag = None,
    state_dir: StateDirFlag = None,
    pg_dsn: PgDsnFlag = None,
    admin: AdminFlag = None,
    log_level: LogLevelFlag = None,
) -> None:
    """Run the control plane until SIGTERM or SIGINT."""
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  # --help loads no server
    from constellation.nova.app import run  # noqa: PLC0415

    flags = shared_flags(state_dir=state_dir, pg_dsn=pg_dsn, admin=admin, log_level=log_level)
    run_plane("nova", run, config=config, flags=flags | {"nova.http": http})


if __name__ == "__main__":
    main()
