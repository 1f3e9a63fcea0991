"""Calling a function: `invoke`."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from constellation.client import (
    AsyncInvocationBody,
    AsyncInvoke,
    Client,
    DurableInvoke,
    FunctionError,
    InvokeBody,
    StreamEnd,
)
from constellation.orbit.commands import executions
from constellation.orbit.commands.arguments import FunctionName, event_of
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.output import Output
from constellation.orbit.session import Session

JOB_POLL_S = 0.25  # chosen: what a person waiting for a job does not notice
MAX_JOB_WAIT_S = 3600.0
DEFAULT_ATTEMPTS = 3  # the API's own


def invoke(
    context: typer.Context,
    name: FunctionName,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="the event; {} when absent")
    ] = None,
    is_async: Annotated[bool, typer.Option("--async", help="accept it durably and print its id")] = False,
    is_durable: Annotated[bool, typer.Option("--durable", help="begin a durable execution and print its id")] = False,
    is_streamed: Annotated[bool, typer.Option("--stream", help="print the output as it is produced")] = False,
    is_binary: Annotated[bool, typer.Option("--binary", help="with --stream: bytes that are no text")] = False,
    is_awaited: Annotated[bool, typer.Option("--wait", help="with --async or --durable: wait for the result")] = False,
    timeout: Annotated[float | None, typer.Option(help="seconds; at most the function's own")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="calls with the same key run once")] = None,
    attempts: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="with --async: tries before it is dead; with --durable: of a step"),
    ] = None,
) -> None:
    """Call a function and print its output. Exits with 1, and the stack on standard error, when it raised."""
    session = Session.of(context)
    event = event_of(data)
    if is_async + is_streamed + is_durable > 1:
        raise OrbitError("--async, --durable and --stream exclude each other")
    if is_binary and not is_streamed:
        raise OrbitError("--binary goes with --stream")
    if (is_awaited or attempts is not None) and not (is_async or is_durable):
        raise OrbitError("--wait and --attempts go with --async or --durable")
    if key is not None and is_streamed:
        raise OrbitError("--idempotency-key and --stream exclude each other")
    if is_streamed:
        _stream(session, name, event, timeout, is_binary=is_binary)
    elif is_durable:
        execution = session.client.invoke_durable(
            name,
            DurableInvoke(
                payload=event,
                idempotency_key=msgspec.UNSET if key is None else key,
                max_attempts=DEFAULT_ATTEMPTS if attempts is None else attempts,
            ),
        )
        executions.show(session, executions.settled(session.client, execution) if is_awaited else execution)
    elif is_async:
        job = AsyncInvoke(
            payload=event,
            idempotency_key=msgspec.UNSET if key is None else key,
            max_attempts=DEFAULT_ATTEMPTS if attempts is None else attempts,
        )
        accepted = session.client.invoke_async(name, job)
        show_job(session, settled(session.client, accepted) if is_awaited else accepted)
    else:
        with session.output.progress(f"calling {name}"):
            answer = session.client.invoke(name, event, timeout_s=timeout, idempotency_key=key)
        show_answer(session.output, answer)


def show_answer(output: Output, answer: InvokeBody) -> None:
    """Print an answer: its output alone in table form, else all of it.

    Raises:
        typer.Exit: the handler raised.
    """
    if not output.is_table:
        output.data(answer)
    elif answer.error is None:
        output.data(answer.output)
    start = "cold start" if answer.cold_start else "warm"
    facts = f"{answer.duration_ms:.1f} ms, {start}, version {answer.version}, request {answer.request_id}"
    fail_if_raised(output, answer.error)
    output.aside(facts)


def fail_if_raised(output: Output, error: FunctionError | None) -> None:
    if error is None:
        return
    output.error(f"{error.type}: {error.message}", error.stack.rstrip())
    raise typer.Exit(int(Exit.FUNCTION_FAILED))


def _stream(session: Session, name: str, event: msgspec.Raw, timeout_s: float | None, *, is_binary: bool) -> None:
    end = StreamEnd()
    with session.client.invoke_stream(name, event, timeout_s=timeout_s, is_binary=is_binary) as pieces:
        for piece in pieces:
            if isinstance(piece, bytes):
                session.output.raw(piece)
            else:
                end = piece
    fail_if_raised(session.output, end.error)


def settled(client: Client, job: AsyncInvocationBody) -> AsyncInvocationBody:
    """Wait until a job has succeeded or is dead.

    Raises:
        OrbitError: it took longer than `MAX_JOB_WAIT_S`.
    """
    until = time.monotonic() + MAX_JOB_WAIT_S
    while job.status not in ("succeeded", "dead"):
        if time.monotonic() > until:
            raise OrbitError(f"{job.id} is still {job.status} after {MAX_JOB_WAIT_S:g} s", exit=Exit.SERVER)
        time.sleep(JOB_POLL_S)
        job = client.get_async(job.id)
    return job


def show_job(session: Session, job: AsyncInvocationBody) -> None:
    """Print a job: its id while it is not done, then its output.

    Raises:
        typer.Exit: it is dead.
    """
    output = session.output
    if not output.is_table:
        output.data(job)
    elif job.status == "succeeded":
        output.data(job.output)
    elif job.status != "dead":
        output.line(str(job.id))
        output.aside(f"{job.status}; `orbit async get {job.id}` shows the result")
    if job.status == "dead":
        reason = job.error if isinstance(job.error, dict) else {}
        what = reason.get("type") or reason.get("code") or "failed"
        message = reason.get("message") or reason.get("detail") or ""
        output.error(f"dead after {job.attempt} attempts: {what}: {message}", str(reason.get("stack", "")).rstrip())
        raise typer.Exit(int(Exit.FUNCTION_FAILED))
