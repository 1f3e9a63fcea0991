"""From source to live: `init`, `deploy`, `dev`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import msgspec
import typer
from watchfiles import DefaultFilter, awatch

from constellation.client import BadReply, ClientError, InvokeBody
from constellation.orbit import bundle, deployment, manifest
from constellation.orbit.commands.arguments import destinations_of, event_of, network_of, pairs_of
from constellation.orbit.commands.builds import OVER, followed, refuse_failed
from constellation.orbit.commands.calls import show_answer
from constellation.orbit.commands.functions import without_env
from constellation.orbit.commands.logs import LogFollower
from constellation.orbit.failures import OrbitError, explain
from constellation.orbit.languages import LANGUAGES, handler_of
from constellation.orbit.output import counted, size
from constellation.orbit.session import Session

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# The platform promises that new code is live on every node within a second; twice that is told as a fault.
LIVE_WITHIN_S = 2.0
LIVE_POLL_S = 0.1
_LOOK_MS = 1000  # chosen: after the watch began, for what was saved just before

Target = Annotated[
    Path, typer.Argument(metavar="[DIR|FILE]", help="directory with a function.yaml, or one source file")
]
Name = Annotated[str | None, typer.Option(help="name of the function; else the manifest's, else the directory's")]


def register(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("deploy")(deploy)
    app.command("dev")(dev)


def init(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="where; made when it does not exist")] = Path(),
    runtime: Annotated[str, typer.Option(help=" or ".join(LANGUAGES))] = "python",
    name: Name = None,
) -> None:
    """Start a function: a manifest, a handler, and an event to try it with."""
    output = Session.of(context).output
    language = LANGUAGES.get(runtime)
    if language is None:
        raise OrbitError(f"init knows no runtime {runtime!r}", hint=f"It knows {', '.join(LANGUAGES)}.")
    name = name or re.sub(r"[^A-Za-z0-9_-]+", "-", directory.resolve().name).strip("-_")
    if _NAME.fullmatch(name) is None:
        raise OrbitError(f"{name!r} can not be the name of a function", hint="Give one with --name.")
    source = language.source(name)
    handler = handler_of(language.starter, source)
    texts = {
        bundle.MANIFEST_NAME: manifest.text_of(name=name, runtime=runtime, handler=handler),
        language.starter: source,
        bundle.EVENT_NAME: '{"name": "Ada"}\n',
    }
    present = [file for file in texts if (directory / file).exists()]
    if present:
        raise OrbitError(f"{directory / present[0]} exists already", hint="Choose another directory.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (directory / file).write_text(text, "utf-8")
    except OSError as error:
        raise OrbitError(f"{error.filename}: {error.strerror}") from error
    if output.is_table:
        output.line(f"{name}: {', '.join(texts)} in {directory}")
        output.aside(f"Next: orbit deploy {directory} && orbit invoke {name} -d @{directory / bundle.EVENT_NAME}")
    else:
        output.data({"name": name, "runtime": runtime, "directory": str(directory), "files": list(texts)})


def deploy(
    context: typer.Context,
    path: Target = Path(),
    name: Name = None,
    runtime: Annotated[str | None, typer.Option(help="language; else by the file's extension")] = None,
    handler: Annotated[str | None, typer.Option(help="module.function; else by the file")] = None,
    image: Annotated[
        str | None, typer.Option(help="a container image that serves HTTP on port 8080, instead of code")
    ] = None,
    memory: Annotated[int | None, typer.Option(help="memory limit in MiB")] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds that a call may take")] = None,
    backend: Annotated[str | None, typer.Option(help="isolator: auto, namespace, docker, wasm")] = None,
    mode: Annotated[str | None, typer.Option(help="process, or isolated: a fresh sandbox a call")] = None,
    egress: Annotated[str | None, typer.Option(help="what it reaches: none, allow-list, internet")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="[udp:]HOST|CIDR[:PORT,…]", help="a name or network that it reaches; repeatable"
        ),
    ] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="environment; repeatable")] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="K=V", help="a tag to find it by; repeatable, replaces all")
    ] = None,
    on_success: Annotated[
        str | None,
        typer.Option(metavar="function:NAME|topic:NAME|none", help="where results of durable calls go"),
    ] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(metavar="function:NAME|topic:NAME|none", help="where durable calls go that are given up"),
    ] = None,
    is_tried: Annotated[bool, typer.Option("--try", help="then call it once with its event.json")] = False,
) -> None:
    """Create or update a function; says what changed, and does nothing when nothing did."""
    session = Session.of(context)
    given = _given(
        name=name,
        runtime=runtime,
        handler=handler,
        image=image,
        memory_mb=memory,
        timeout_s=timeout,
        backend=backend,
        mode=mode,
        network=network_of(egress, allow),
        env=env,
        tags=tags,
        async_destinations=destinations_of(on_success=on_success, on_failure=on_failure),
    )
    deployed = _deploy(session, path, given)
    _show(session, deployed)
    if is_tried:
        event = path / bundle.EVENT_NAME
        data = f"@{event}" if path.is_dir() and event.exists() else None
        show_answer(session.output, _try(session, deployed, event_of(data)))


def dev(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path(),
    name: Name = None,
) -> None:
    """Deploy a directory, deploy it again whenever a file is saved, and show what its calls print. Ctrl-C ends it."""
    session = Session.of(context)
    if not directory.is_dir():
        raise OrbitError(f"{directory} is not a directory")
    given = _given(name=name)
    deployed = _deploy(session, directory, given)
    _show(session, deployed)
    session.output.aside(f"Watching {directory.resolve()}; Ctrl-C ends it.")
    anyio.run(_develop, session, directory, given, deployed.function.name)


async def _develop(session: Session, directory: Path, given: dict[str, Any], name: str) -> None:
    patterns, has_looked = manifest.read(directory).files, False
    async with session.open_async() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(_follow, session, LogFollower(session.output, client, name, since=datetime.now(UTC)))
        async for changes in awatch(
            directory, watch_filter=CodeFilter(directory, patterns), debounce=200, step=50,
            rust_timeout=_LOOK_MS, yield_on_timeout=True,
        ):  # fmt: skip
            # Once more than there are changes: what was saved before the watch began is told by nobody.
            if changes or not has_looked:
                await anyio.to_thread.run_sync(_redeploy, session, directory, given)
            has_looked = True


async def _follow(session: Session, follower: LogFollower) -> None:
    """Show the log while there is one; its end does not end the watching."""
    try:
        await follower.run()
    except ClientError as error:
        session.output.warn(f"the log is not followed any more: {error}")


class CodeFilter(DefaultFilter):
    """Lets through changes of the manifest and of files that would be deployed."""

    def __init__(self, root: Path, patterns: manifest.FilePatterns) -> None:
        super().__init__()
        self._root, self._patterns = root.resolve(), patterns

    def __call__(self, change: Any, path: str) -> bool:
        try:
            name = Path(path).resolve().relative_to(self._root).as_posix()
        except ValueError:
            return False
        if name == bundle.MANIFEST_NAME:
            return True
        is_code = bundle.is_part(name, include=self._patterns.include, exclude=self._patterns.exclude)
        return is_code and super().__call__(change, path)


def _redeploy(session: Session, directory: Path, given: dict[str, Any]) -> None:
    """Deploy once more; a mistake in the source is told, and the next save is another chance."""
    try:
        deployed = _deploy(session, directory, given)
    except (OrbitError, ClientError) as error:
        told = explain(error)
        session.output.error(told.message, told.hint)
        return
    if deployed.action != "unchanged":
        _show(session, deployed)


def _given(**facts: Any) -> dict[str, Any]:
    for name in ("env", "tags"):
        if facts.get(name) is not None:
            facts[name] = pairs_of(facts[name])
    return {key: value for key, value in facts.items() if value is not None}


def _deploy(session: Session, path: Path, given: dict[str, Any]) -> deployment.Deployed:
    client, output = session.client, session.output

    def runtimes() -> dict[str, str]:
        return {known.file_extension: known.id for known in client.list_runtimes() if known.file_extension}

    with output.progress("reading"):
        source = deployment.read_source(path, given, runtimes=runtimes)
    with output.progress(f"deploying {source.name}"):
        deployed = deployment.deploy(client, source)
    return _built(session, deployed)


def _built(session: Session, deployed: deployment.Deployed) -> deployment.Deployed:
    """Wait until what was deployed is built, if it must be; who deploys the same again after a failure tries again.

    Raises:
        OrbitError: it could not be built.
    """
    function, client = deployed.function, session.client
    if function.build is None or function.build.state == "success":
        return deployed
    build_id = function.build.id
    if deployed.action == "unchanged" and function.build.state in OVER:
        build_id = client.retry_build(function.name).id
    refuse_failed(followed(session, build_id, show=session.output.told))
    return msgspec.structs.replace(deployed, function=client.get_function(function.name))


def _show(session: Session, deployed: deployment.Deployed) -> None:
    output, function = session.output, deployed.function
    if not output.is_table:
        output.data(msgspec.structs.replace(deployed, function=without_env(function)))
        return
    facts = f"{function.runtime}, {function.handler}"
    if function.image is None:
        facts += f", {counted(deployed.files, 'file')}, {size(deployed.size_bytes)}"
    output.line(f"{deployed.action} {function.name} (version {function.live_version}; {facts})")
    width = max((len(change.field) for change in deployed.changes), default=0)
    for change in deployed.changes:
        output.line(f"  {change.field.ljust(width)}  {change.before} -> {change.after}")


def _try(session: Session, deployed: deployment.Deployed, event: msgspec.Raw) -> InvokeBody:
    """Call the function until the version that was just deployed answers."""
    name, wanted = deployed.function.name, str(deployed.function.live_version)

    async def call() -> InvokeBody:
        async with session.open_async() as client:
            with anyio.move_on_after(LIVE_WITHIN_S):
                while True:
                    answer = await client.invoke(name, event)
                    if answer.version == wanted:
                        return answer
                    await anyio.sleep(LIVE_POLL_S)
            raise BadReply(session.settings["server"].value, "invoke", reason=f"version {wanted} is not live yet")

    return anyio.run(call)
