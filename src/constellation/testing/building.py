"""The fake's rules of builds: sources with a requirements.txt are built at once, and fail as the test says."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from constellation.base.errors import NotFound, StateConflict
from constellation.base.ids import uuid7
from constellation.routes.models import builds as b
from constellation.testing.state import Asked, Entry, Events, State

LOCK_FILE = "requirements.txt"


class Building(State):
    """Each public method is an operation of the registry."""

    def list_function_builds(self, asked: Asked) -> list[b.BuildBody]:
        function = self.entry(asked).body
        found = [build for build in self.builds.values() if build.function_id == function.id]
        wanted = asked.query.get("state")
        return [build for build in reversed(found) if wanted in (None, build.state)]

    def get_build(self, asked: Asked) -> b.BuildBody:
        build = self.builds.get(UUID(asked.params["id"]))
        if build is None or (build.tenant, build.namespace) != asked.scope:
            raise NotFound("build", asked.params["id"])
        return build

    def build_log(self, asked: Asked) -> Events | bytes:
        build = self.get_build(asked)
        text = f"building {build.function}\n" + (f"{build.error}\n" if build.error else "")
        if "follow" not in asked.query:
            return text.encode()
        part = b.BuildLogPart(text=text)
        return Events([("log", msgspec.json.encode(part)), ("done", msgspec.json.encode(build))])

    def cancel_build(self, asked: Asked) -> b.BuildBody:
        build = self.get_build(asked)
        raise StateConflict("build", str(build.id), state=build.state, wanted="pending or compiling")

    def retry_build(self, asked: Asked) -> b.BuildBody:
        entry = self.entry(asked)
        if entry.body.pending_version is None:
            raise StateConflict("function", asked.name, state="live as deployed", wanted="waiting for a build")
        return self.build(entry, entry.body.pending_version)

    def deployed(self, entry: Entry, *, version: int) -> None:
        """Make new code live, or build it first."""
        if LOCK_FILE in entry.files:
            self.build(entry, version)
        else:
            facts = {"code_version": version, "live_version": version, "pending_version": None, "build": None}
            entry.body = msgspec.structs.replace(entry.body, **facts)

    def build(self, entry: Entry, version: int) -> b.BuildBody:
        """Build a version at once; it goes live, or its function goes on with what it has."""
        function, now = entry.body, datetime.now(UTC)
        error = self.build_errors.pop(0) if self.build_errors else None
        build = b.BuildBody(
            id=uuid7(),
            tenant=function.tenant,
            namespace=function.namespace,
            function=function.name,
            function_id=function.id,
            code_version=version,
            runtime=function.runtime,
            handler=function.handler,
            state="failed" if error else "success",
            error=error,
            attempt=1,
            is_cached=False,
            artifact=None if error else "0" * 64,
            log_bytes=1,
            log_truncated=False,
            created_at=now,
            started_at=now,
            finished_at=now,
        )
        self.builds[build.id] = build
        summary = b.BuildSummary(id=build.id, state=build.state, error=error)
        made = {"pending_version": None, "code_version": version, "live_version": version}
        live = {"pending_version": version} if error else made
        entry.body = msgspec.structs.replace(function, build=summary, **live)
        return build
