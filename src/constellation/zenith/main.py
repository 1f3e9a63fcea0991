"""`zenith serve`: flags in, exit code out. Heavy imports wait until a command runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="zenith", help="The gateway.", no_args_is_help=True, add_completion=False)


@app.callback()
def _gateway() -> None:
    """The gateway."""


@app.command()
def serve(
    listen: Annotated[list[str] | None, typer.Option(help="HOST:PORT; more than once or comma separated")] = None,
    nova_url: Annotated[str | None, typer.Option(help="where nova serves HTTP")] = None,
    comet_grpc: Annotated[str | None, typer.Option(help="HOST:PORT of comet")] = None,
    config: Annotated[Path | None, typer.Option(help="settings in JSON")] = None,
    state_dir: Annotated[str | None, typer.Option(help="the platform's state directory")] = None,
    auth: Annotated[str | None, typer.Option(help="required, or loopback: trust local callers of one user")] = None,
    trusted_uid: Annotated[int | None, typer.Option(help="with --auth loopback: whose callers")] = None,
    max_timeout: Annotated[str | None, typer.Option(help='the longest call, such as "300s"')] = None,
    max_body: Annotated[str | None, typer.Option(help='the largest body, such as "10MiB"')] = None,
    max_inflight: Annotated[int | None, typer.Option(help="requests in hand at a time")] = None,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT for health and telemetry besides the socket")] = None,
    corona_sock: Annotated[Path | None, typer.Option(help="ask corona too in /health")] = None,
    nebula_sock: Annotated[Path | None, typer.Option(help="ask nebula too in /health")] = None,
    aurora_sock: Annotated[Path | None, typer.Option(help="ask aurora too in /health")] = None,
) -> None:
    """Serve the public API."""
    from constellation.aurora.observability.plane import run_plane  # noqa: PLC0415  # light until a command runs
    from constellation.zenith.app import serve as serve_gateway  # noqa: PLC0415

    sockets = {"corona": corona_sock, "nebula": nebula_sock, "aurora": aurora_sock}
    run_plane(
        "zenith",
        partial(serve_gateway, plane_sockets={name: path for name, path in sockets.items() if path is not None}),
        config=config,
        flags={
            "zenith.listen": ",".join(listen) if listen else None,
            "zenith.nova_url": nova_url,
            "zenith.comet_grpc": comet_grpc,
            "zenith.auth": auth,
            "zenith.trusted_uid": trusted_uid,
            "zenith.max_timeout": max_timeout,
            "zenith.max_body": max_body,
            "zenith.max_inflight": max_inflight,
            "platform.state_dir": state_dir,
            "platform.admin": admin,
        },
    )


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
