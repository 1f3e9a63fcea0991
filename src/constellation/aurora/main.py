"""The command `aurora`."""

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

main = plane_cli("aurora", "The observability plane.")


@main.command()
def daemon(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT of /metrics and /health.", show_default=":9002")] = None,
    config: ConfigFlag = None,
    state_dir: StateDirFlag = None,
    pg_dsn: PgDsnFlag = None,
    admin: AdminFlag = None,
    log_level: LogLevelFlag = None,
) -> None:
    """Serve /metrics and /health of this node, and keep house."""
    from constellation.aurora.app import run  # noqa: PLC0415
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  # --help loads no server

    flags = shared_flags(state_dir=state_dir, pg_dsn=pg_dsn, admin=admin, log_level=log_level)
    run_plane("aurora", run, config=config, flags=flags | {"aurora.listen": listen})


if __name__ == "__main__":
    main()
