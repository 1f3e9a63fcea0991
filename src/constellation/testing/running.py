"""The fake's rules of calls: run at once, remembered for the log."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from constellation.base.errors import InvalidRequest, NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.routes.models import invocations as i
from constellation.testing import run_python
from constellation.testing.state import Asked, Entry, Events, Scope, State, decoded


class Running(State):
    """Each public method is an operation of the registry."""

    # --- calls

    def invoke(self, asked: Asked) -> i.InvokeBody:
        entry = self.entry(asked)
        return self._run(asked.scope, entry, asked.body, source="http")

    def invoke_stream(self, asked: Asked) -> Events:
        answer = self._run(asked.scope, self.entry(asked), asked.body, source="http")
        if answer.error is not None:
            return Events([("error", msgspec.json.encode(answer.error))])
        pieces = answer.output if isinstance(answer.output, list) else [answer.output]
        chunks = [piece if isinstance(piece, str) else json.dumps(piece) for piece in pieces]
        end = {name: getattr(answer, name) for name in ("request_id", "duration_ms", "cold_start", "version")}
        return Events([*(("message", _event_data(chunk)) for chunk in chunks), ("done", msgspec.json.encode(end))])

    def invoke_async(self, asked: Asked) -> i.AsyncInvocationBody:
        entry, wanted = self.entry(asked), asked.body
        payload = decoded(wanted.payload)
        answer = self._run(asked.scope, entry, payload, source="async")
        now = datetime.now(UTC)
        job = i.AsyncInvocationBody(
            id=uuid7(),
            tenant=asked.scope[0],
            namespace=asked.scope[1],
            function=asked.name,
            status="dead" if answer.error else "succeeded",
            source="api",
            qualifier="",
            attempt=wanted.max_attempts if answer.error else 1,
            max_attempts=wanted.max_attempts,
            run_at=None,
            request_id=UUID(answer.request_id),
            payload=payload,
            output=answer.output,
            error=answer.error,
            duration_ms=answer.duration_ms,
            created_at=now,
            started_at=now,
            finished_at=now,
        )
        self.jobs[job.id] = job
        return msgspec.structs.replace(job, status="queued", output=None, error=None, attempt=0)

    def list_async(self, asked: Asked) -> list[i.AsyncInvocationBody]:
        status = asked.query.get("status")
        found = [job for job in self.jobs.values() if (job.tenant, job.namespace) == asked.scope]
        return [job for job in reversed(found) if status in (None, job.status)]

    def list_function_async(self, asked: Asked) -> list[i.AsyncInvocationBody]:
        self.entry(asked)
        return [job for job in self.list_async(asked) if job.function == asked.name]

    def get_async(self, asked: Asked) -> i.AsyncInvocationBody:
        try:
            return self.jobs[UUID(asked.params["id"])]
        except KeyError:
            raise NotFound("async invocation", asked.params["id"]) from None

    def retry_async(self, asked: Asked) -> i.AsyncInvocationBody:
        job = self.get_async(asked)
        if job.status != "dead":
            raise StateConflict("async invocation", str(job.id), state=job.status, wanted="dead")
        self.jobs[job.id] = msgspec.structs.replace(job, status="queued", attempt=0)
        return self.jobs[job.id]

    def list_dead_async(self, asked: Asked) -> list[i.AsyncInvocationBody]:
        function = asked.query.get("function")
        return [job for job in self.list_async(asked) if job.status == "dead" and function in (None, job.function)]

    def purge_async(self, asked: Asked) -> i.Purged:
        dead = self.list_dead_async(asked)
        for job in dead:
            del self.jobs[job.id]
        return i.Purged(deleted=len(dead))

    def redrive_async(self, asked: Asked) -> i.Redriven:
        dead = self.list_dead_async(asked)
        for job in dead:
            self.jobs[job.id] = msgspec.structs.replace(job, status="queued", attempt=0)
        return i.Redriven(retried=len(dead))

    def delete_async(self, asked: Asked) -> None:
        del self.jobs[self.get_async(asked).id]

    def list_invocations(self, asked: Asked) -> list[i.InvocationBody]:
        function = asked.query.get("function")
        return [call for call, _ in self._calls(asked) if function in (None, call.function)]

    def list_function_invocations(self, asked: Asked) -> list[i.InvocationBody]:
        self.entry(asked)
        return [call for call, _ in self._calls(asked) if call.function == asked.name]

    def list_logs(self, asked: Asked) -> list[i.LogBody]:
        self.entry(asked)
        return [_log(call, text) for call, text in self._calls(asked) if call.function == asked.name]

    def follow_logs(self, asked: Asked) -> Events:
        known = self.list_logs(asked)
        entries = reversed(known) if "since" in asked.query else ()
        return Events([("log", msgspec.json.encode(entry)) for entry in entries])

    def _calls(self, asked: Asked) -> list[tuple[i.InvocationBody, str]]:
        status, request_id = asked.query.get("status"), asked.query.get("request_id")
        since = asked.query.get("since")
        begin = datetime.fromisoformat(since) if since else datetime.min.replace(tzinfo=UTC)
        return [
            (call, text)
            for scope, call, text in reversed(self.calls)
            if scope == asked.scope
            and (status in (None, call.status) or (status == "failed" and call.status != "ok"))
            and request_id in (None, str(call.id))
            and call.started_at >= begin
        ]

    def _run(self, scope: Scope, entry: Entry, event: Any, *, source: str) -> i.InvokeBody:
        if entry.body.runtime != "python":
            raise InvalidRequest(f"the fake platform can not run {entry.body.runtime}")
        started_at = datetime.now(UTC)
        result, printed = _run_python(entry, event)
        error = msgspec.convert(result["error"], i.FunctionError) if "error" in result else None
        answer = i.InvokeBody(
            request_id=str(uuid7()),
            output=result.get("output"),
            error=error,
            duration_ms=(datetime.now(UTC) - started_at).total_seconds() * 1000,
            cold_start=True,
            version=str(entry.body.code_version),
        )
        call = i.InvocationBody(
            id=UUID(answer.request_id),
            function=entry.body.name,
            function_version=entry.body.code_version,
            runtime=entry.body.runtime,
            node="fake",
            started_at=started_at,
            duration_ms=answer.duration_ms,
            queued_ms=0.0,
            cold_start=True,
            status="function_error" if error else "ok",
            error=error,
            input_bytes=len(json.dumps(event)),
            output_bytes=len(json.dumps(answer.output)),
            source=source,
        )
        self.calls.append((scope, call, printed))
        return answer


def _run_python(entry: Entry, event: Any) -> tuple[dict[str, Any], str]:
    with tempfile.TemporaryDirectory() as directory:
        for name, content in entry.files.items():
            path = Path(directory, "code", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b64decode(content))
        result_path = Path(directory, "result.json")
        argv = [sys.executable, "-B", run_python.__file__, f"{directory}/code", entry.body.handler, str(result_path)]
        done = subprocess.run(
            argv,
            input=json.dumps(event),
            env=dict(entry.body.env),
            capture_output=True,
            text=True,
            timeout=entry.body.timeout_s,
            check=True,
        )
        return json.loads(result_path.read_text()), done.stdout


def _event_data(text: str) -> bytes:
    return text.replace("\n", "\ndata: ").encode()


def _log(call: i.InvocationBody, text: str) -> i.LogBody:
    facts = {name: getattr(call, name) for name in ("id", "function", "started_at", "duration_ms", "status", "error")}
    return i.LogBody(**facts, log=text, log_truncated=False)
