"""The command `comet`."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.aurora.observability.flags import (
    AdminFlag,
    ConfigFlag,
    LogLevelFlag,
    NativeLaneFlag,
    PgDsnFlag,
    StateDirFlag,
    plane_cli,
    shared_flags,
)

main = plane_cli("comet", "The execution plane.")


@main.command()
def daemon(
    grpc: Annotated[str | None, typer.Option(help="HOST:PORT to listen on.", show_default=":9090")] = None,
    config: ConfigFlag = None,
    state_dir: StateDirFlag = None,
    pg_dsn: PgDsnFlag = None,
    admin: AdminFlag = None,
    log_level: LogLevelFlag = None,
    native_lane: NativeLaneFlag = None,
    nova_url: Annotated[
        str | None, typer.Option(help="Where nova is, for the values of secrets.", show_default="http://127.0.0.1:9001")
    ] = None,
) -> None:
    """Run functions until SIGTERM or SIGINT; calls in hand are finished first."""
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  # --help loads no server
    from constellation.comet.app import run  # noqa: PLC0415

    flags = shared_flags(state_dir=state_dir, pg_dsn=pg_dsn, admin=admin, log_level=log_level, native_lane=native_lane)
    run_plane("comet", run, config=config, flags=flags | {"comet.grpc": grpc, "comet.nova_url": nova_url})


if __name__ == "__main__":
    main()
