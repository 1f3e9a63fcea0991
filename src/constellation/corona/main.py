"""The command `corona`."""

from __future__ import annotations

from functools import partial

from constellation.aurora.observability.flags import (
    AdminFlag,
    ConfigFlag,
    LocalCometFlag,
    LogLevelFlag,
    PgDsnFlag,
    StateDirFlag,
    plane_cli,
    shared_flags,
)

main = plane_cli("corona", "The scheduling plane.")


@main.command()
def daemon(
    comet_grpc: LocalCometFlag = None,
    config: ConfigFlag = None,
    state_dir: StateDirFlag = None,
    pg_dsn: PgDsnFlag = None,
    admin: AdminFlag = None,
    log_level: LogLevelFlag = None,
) -> None:
    """Fire schedules until SIGTERM or SIGINT."""
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  # --help loads no server
    from constellation.corona.app import run  # noqa: PLC0415

    flags = shared_flags(state_dir=state_dir, pg_dsn=pg_dsn, admin=admin, log_level=log_level)
    run_plane("corona", partial(run, comet_grpc=comet_grpc), config=config, flags=flags)


if __name__ == "__main__":
    main()
