"""The command `zenith`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from constellation.aurora.observability.flags import (
    AdminFlag,
    ConfigFlag,
    LogLevelFlag,
    NativeLaneFlag,
    StateDirFlag,
    plane_cli,
    shared_flags,
)

main = plane_cli("zenith", "The gateway.")


@main.command()
def serve(
    listen: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT; more than once or comma separated.", show_default=":9000")
    ] = None,
    nova_url: Annotated[str | None, typer.Option(help="Where nova serves HTTP.")] = None,
    comet_grpc: Annotated[str | None, typer.Option(help="HOST:PORT of comet.")] = None,
    auth: Annotated[str | None, typer.Option(help="required, or loopback: trust local callers of one user.")] = None,
    trusted_uid: Annotated[int | None, typer.Option(help="With --auth loopback: whose callers.")] = None,
    max_timeout: Annotated[str | None, typer.Option(help='The longest call, such as "300s".')] = None,
    max_body: Annotated[str | None, typer.Option(help='The largest body, such as "10MiB".')] = None,
    max_inflight: Annotated[int | None, typer.Option(help="Requests in hand at a time.")] = None,
    corona_sock: Annotated[Path | None, typer.Option(help="Ask corona too in /health.")] = None,
    nebula_sock: Annotated[Path | None, typer.Option(help="Ask nebula too in /health.")] = None,
    aurora_sock: Annotated[Path | None, typer.Option(help="Ask aurora too in /health.")] = None,
    config: ConfigFlag = None,
    state_dir: StateDirFlag = None,
    admin: AdminFlag = None,
    log_level: LogLevelFlag = None,
    native_lane: NativeLaneFlag = None,
) -> None:
    """Serve the public API until SIGTERM or SIGINT."""
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  # --help loads no server
    from constellation.zenith.app import run  # noqa: PLC0415

    sockets = {"corona": corona_sock, "nebula": nebula_sock, "aurora": aurora_sock}
    asked = {name: path for name, path in sockets.items() if path is not None}
    flags = {
        "zenith.listen": ",".join(listen) if listen else None,
        "zenith.nova_url": nova_url,
        "zenith.comet_grpc": comet_grpc,
        "zenith.auth": auth,
        "zenith.trusted_uid": trusted_uid,
        "zenith.max_timeout": max_timeout,
        "zenith.max_body": max_body,
        "zenith.max_inflight": max_inflight,
    }
    shared = shared_flags(state_dir=state_dir, admin=admin, log_level=log_level, native_lane=native_lane)
    run_plane("zenith", partial(run, plane_sockets=asked), config=config, flags=flags | shared)


if __name__ == "__main__":
    main()
