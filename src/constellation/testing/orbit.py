"""Runs `orbit` in this process, against a fake platform or a real one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from typer.testing import CliRunner

from constellation.client import AsyncClient, Client, Connection
from constellation.orbit.app import app
from constellation.orbit.session import Host
from constellation.testing.platform import FakePlatform


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


@dataclass(slots=True, kw_only=True)
class OrbitRig:
    """A user's machine. Without `platform` the address in `env` is a real server's."""

    home: Path
    platform: FakePlatform | None
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *args: str | Path, stdin: str | bytes | None = None, env: Mapping[str, str] | None = None) -> Ran:
        """Run one command to its end; an exception that orbit did not foresee passes through."""
        host = Host(
            env={**self.env, **(env or {})}, home=self.home, connect=self._connect, connect_async=self._connect_async
        )
        done = CliRunner().invoke(app, [str(arg) for arg in args], obj=host, input=stdin, catch_exceptions=False)
        return Ran(code=done.exit_code, out=done.stdout, err=done.stderr)

    def _connect(self, at: Connection) -> Client:
        transport = None if self.platform is None else self.platform.transport()
        return Client(at.server, api_key=at.api_key, tenant=at.tenant, namespace=at.namespace, transport=transport)

    def _connect_async(self, at: Connection) -> AsyncClient:
        transport = None if self.platform is None else self.platform.transport()
        return AsyncClient(at.server, api_key=at.api_key, tenant=at.tenant, namespace=at.namespace, transport=transport)
