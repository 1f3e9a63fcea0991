"""Functions that connect where they are told to, and how their calls end."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.nova.domain.network import AllowRule, Egress, NetworkPolicy

SOURCE = """
import os, socket

def reach(host, port, kind="tcp", text=""):
    try:
        if kind == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
                wire.settimeout(1)
                wire.connect((host, port))
                wire.send(bytes.fromhex(text) or b"x")
                return wire.recv(512).hex()
        with socket.create_connection((host, port), timeout=2) as wire:
            return wire.recv(100).decode()
    except socket.gaierror as error:
        return "no name"
    except OSError as error:
        return type(error).__name__ + (f" {os.strerror(error.errno)}" if error.errno else "")

def handler(event, context):
    scope = dict(globals())
    if "run" in event:
        exec(event["run"], scope)
        return scope["result"]
    return [reach(*each) for each in event["reach"]]
"""


def allow(*rules: dict[str, Any], deny: tuple[str, ...] = (), egress: Egress = Egress.ALLOW_LIST) -> NetworkPolicy:
    return NetworkPolicy(egress=egress, allow=tuple(AllowRule(**rule) for rule in rules), deny=deny)


@dataclass(slots=True, eq=False)
class Asker:
    """An instance that does what it is asked."""

    instance: Any

    async def run(self, source: str) -> Any:
        """Return what the source leaves as `result`."""
        return await self.ask({"run": source})

    async def reach(self, *where: tuple[Any, ...]) -> list[str]:
        """Return what was read at each address and port, or why nothing was."""
        return await self.ask({"reach": where})

    async def ask(self, event: Any) -> Any:
        call = Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=60)
        outcome = await self.instance.invoke(call)
        assert outcome.error is None, outcome.error
        return json.loads(outcome.output)


@contextlib.asynccontextmanager
async def asking(backend, directory, network=None, *, file=("main.py", SOURCE), **fields):
    """Run an instance for the length of the block."""
    code_dir = directory / uuid7().hex
    code_dir.mkdir()
    code_dir.chmod(0o755)
    (code_dir / file[0]).write_text(file[1])
    given = {"tenant": "acme", "namespace": "prod", "function_name": "f", "function_version": "1", "runtime": "python"}
    if network is not None:
        given["network"] = network
    spec = InstanceSpec(function_id=uuid7(), handler="main.handler", code_dir=code_dir, **(given | fields))
    instance = await backend.create(spec, timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        yield Asker(instance)
    finally:
        await instance.destroy()
