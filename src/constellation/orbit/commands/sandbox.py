"""Interactive sandboxes: `sandbox`."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from constellation.client import (
    SandboxBody,
    SandboxCreate,
    SandboxEntry,
    SandboxExec,
    SandboxPort,
    SandboxProcess,
)
from constellation.orbit.commands.arguments import Agreed, id_of, pairs_of, seconds_of
from constellation.orbit.commands.shell import attach
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

app = typer.Typer(help="Sandboxes: machines to work in.", no_args_is_help=True)

PART_BYTES = 8 << 20  # of a file that is sent
SandboxId = Annotated[str, typer.Argument(metavar="ID", help="id of the sandbox")]


@app.command("create")
def create(
    context: typer.Context,
    template: Annotated[str, typer.Option(help="a language of `orbit runtimes`")] = "python",
    backend: Annotated[
        Literal["auto", "namespace", "docker"], typer.Option(help="where it lives; auto: docker for an image")
    ] = "auto",
    image: Annotated[str | None, typer.Option(help="a container image with python3, instead of a template")] = None,
    memory: Annotated[int, typer.Option(help="MiB")] = 512,
    cpu: Annotated[int, typer.Option(help="thousandths of a core")] = 1000,
    disk: Annotated[int, typer.Option(help="MiB; files are in memory, on top of the other")] = 512,
    ttl: Annotated[str, typer.Option(help="how long it lives, such as 30m or 24h")] = "1h",
    idle: Annotated[str, typer.Option(help="how long it may be without a request, such as 10m")] = "",
    remove_idle: Annotated[bool, typer.Option("--remove-idle", help="remove it then, instead of pausing it")] = False,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE")] = None,
) -> None:
    """Make a sandbox."""
    session = Session.of(context)
    wanted = SandboxCreate(
        template=template,
        backend=backend,
        image=image,
        memory_mb=memory,
        cpu_millis=cpu,
        disk_mb=disk,
        ttl_s=float(seconds_of(ttl)),
        idle_timeout_s=float(seconds_of(idle)) if idle else 0.0,
        on_idle="remove" if remove_idle else "pause",
        env=pairs_of(env or []),
    )
    made = session.client.create_sandbox(wanted)
    session.output.made(made, str(made.id))


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="creating, running, paused, ending or ended")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List sandboxes, the newest first; those that ended with --state ended."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[SandboxBody]("ID", lambda box: box.id),
        Column[SandboxBody]("TEMPLATE", lambda box: box.template),
        Column[SandboxBody]("STATE", lambda box: box.state),
        Column[SandboxBody]("MEMORY", lambda box: f"{box.memory_mb} MiB"),
        Column[SandboxBody]("USED", lambda box: output.age(box.used_at)),
        Column[SandboxBody]("REASON", lambda box: box.reason[:60]),
    ]
    found = session.client.list_sandboxes(state=state, page_size=min(limit, 500))
    output.rows(list(islice(found, limit)), columns, empty="There is no sandbox; `orbit sandbox create` makes one.")


@app.command("get")
def get(context: typer.Context, sandbox: SandboxId) -> None:
    """Show a sandbox."""
    session = Session.of(context)
    session.output.item(session.client.get_sandbox(id_of(sandbox)))


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec_(
    context: typer.Context,
    sandbox: SandboxId,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="one word: a line of shell")],
    timeout: Annotated[float, typer.Option(help="seconds")] = 60.0,
    is_fed: Annotated[bool, typer.Option("--stdin", "-i", help="pass standard input on")] = False,
) -> None:
    """Run a command; its output comes as it is written, and its exit status is orbit's."""
    session = Session.of(context)
    wanted = SandboxExec(
        command=command[0] if len(command) == 1 else None,
        argv=command if len(command) > 1 else None,
        timeout_s=timeout,
        stdin=sys.stdin.read() if is_fed else "",
    )
    status = int(Exit.SERVER)
    with session.client.exec_sandbox(id_of(sandbox), wanted) as pieces:
        for piece in pieces:
            if piece.stdout:
                sys.stdout.write(piece.stdout)
                sys.stdout.flush()
            if piece.stderr:
                sys.stderr.write(piece.stderr)
            if piece.exit is not None:
                status = piece.exit.exit_code
                if piece.exit.timed_out:
                    session.output.told(f"It was ended after {timeout:g} s.\n")
    raise typer.Exit(status)


@app.command("shell")
def shell(
    context: typer.Context,
    sandbox: SandboxId,
    command: Annotated[str | None, typer.Argument(help="instead of a login shell")] = None,
) -> None:
    """Open a terminal in a sandbox."""
    session = Session.of(context)
    raise typer.Exit(attach(session.client.connection, id_of(sandbox), command))


@app.command("cp")
def cp(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="a file here, or ID:PATH")],
    to: Annotated[str, typer.Argument(help="the same")],
) -> None:
    """Copy a file into a sandbox, or out of one."""
    session = Session.of(context)
    there, here = _place(source), _place(to)
    if (there is None) is (here is None):
        raise OrbitError("One of the two must be ID:PATH, the other a file here.")
    if there is not None:
        _fetch(session, there, Path(to))
    elif here is not None:
        _send(session, Path(source), here)


def _fetch(session: Session, source: tuple[str, str], to: Path) -> None:
    target = to / Path(source[1]).name if to.is_dir() else to
    with session.client.read_sandbox_file(id_of(source[0]), source[1]) as pieces, target.open("wb") as file:
        for piece in pieces:
            file.write(piece)


def _send(session: Session, source: Path, to: tuple[str, str]) -> None:
    sandbox, path = id_of(to[0]), to[1] + source.name if to[1].endswith("/") else to[1]
    try:
        with source.open("rb") as file:
            mode = f"{source.stat().st_mode & 0o777:o}"
            session.client.write_sandbox_file(sandbox, path, file.read(PART_BYTES), mode=mode)
            while part := file.read(PART_BYTES):
                offset = file.tell() - len(part)
                session.client.write_sandbox_file(sandbox, path, part, mode=mode, offset=offset)
    except OSError as error:
        raise OrbitError(f"{source}: {error.strerror}") from error


def _place(text: str) -> tuple[str, str] | None:
    sandbox, colon, path = text.partition(":")
    return (sandbox, path) if colon and "/" not in sandbox else None


@app.command("ls")
def ls(context: typer.Context, sandbox: SandboxId, path: Annotated[str | None, typer.Argument()] = None) -> None:
    """List a directory of a sandbox."""
    session = Session.of(context)
    output = session.output
    columns = [
        Column[SandboxEntry]("MODE", lambda entry: f"{entry.mode:04o}"),
        Column[SandboxEntry]("SIZE", lambda entry: entry.size),
        Column[SandboxEntry]("CHANGED", lambda entry: output.age(entry.modified_at)),
        Column[SandboxEntry]("NAME", lambda entry: entry.name + {"directory": "/", "link": "@"}.get(entry.kind, "")),
    ]
    output.rows(session.client.list_sandbox_files(id_of(sandbox), path).items, columns, empty="It is empty.")


@app.command("ps")
def ps(context: typer.Context, sandbox: SandboxId) -> None:
    """List the processes of a sandbox."""
    session = Session.of(context)
    columns = [
        Column[SandboxProcess]("PID", lambda process: process.pid),
        Column[SandboxProcess]("STATE", lambda process: process.state),
        Column[SandboxProcess]("CPU", lambda process: f"{process.cpu_s:.2f} s"),
        Column[SandboxProcess]("MEMORY", lambda process: f"{process.memory_bytes >> 20} MiB"),
        Column[SandboxProcess]("COMMAND", lambda process: process.command[:100]),
    ]
    session.output.rows(session.client.list_sandbox_processes(id_of(sandbox)).items, columns, empty="Nothing runs.")


@app.command("expose")
def expose(
    context: typer.Context,
    sandbox: SandboxId,
    port: Annotated[int | None, typer.Argument(min=1, max=65_535)] = None,
    is_closed: Annotated[bool, typer.Option("--close", help="pass it on no longer")] = False,
) -> None:
    """Pass a port of a sandbox on through the gateway; without one, list those that are."""
    session = Session.of(context)
    box, server = id_of(sandbox), session.client.connection.server.rstrip("/")
    columns = [
        Column[SandboxPort]("PORT", lambda exposed: exposed.port),
        Column[SandboxPort]("URL", lambda exposed: server + exposed.path),
    ]
    if port is None:
        session.output.rows(session.client.list_sandbox_ports(box).items, columns, empty="No port is exposed.")
    elif is_closed:
        session.output.made(session.client.close_sandbox_port(box, port), f"closed {port}")
    else:
        made = session.client.expose_sandbox_port(box, port)
        session.output.made(made, server + made.path)


@app.command("pause")
def pause(context: typer.Context, sandbox: SandboxId) -> None:
    """Let every process of a sandbox stand still."""
    session = Session.of(context)
    session.output.made(session.client.pause_sandbox(id_of(sandbox)), f"paused {sandbox}")


@app.command("resume")
def resume(context: typer.Context, sandbox: SandboxId) -> None:
    """Let a paused sandbox go on."""
    session = Session.of(context)
    session.output.made(session.client.resume_sandbox(id_of(sandbox)), f"resumed {sandbox}")


@app.command("fork")
def fork(context: typer.Context, sandbox: SandboxId) -> None:
    """Make a sandbox with the files, environment and ports of another; its processes stay behind."""
    session = Session.of(context)
    made = session.client.fork_sandbox(id_of(sandbox))
    session.output.made(made, str(made.sandbox.id))


@app.command("rm")
def rm(context: typer.Context, sandbox: SandboxId, is_agreed: Agreed = False) -> None:
    """End a sandbox and all that is in it."""
    session = Session.of(context)
    session.confirm(f"End sandbox {sandbox}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_sandbox(id_of(sandbox)), f"removed {sandbox}")
