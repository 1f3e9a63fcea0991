"""Whose network namespace a sandbox gets, and what the one before it has left there."""

from __future__ import annotations

import json
import os

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sandboxes make their own network namespaces"),
]

SOURCE = """
import os, socket
held = []

def handler(event, context):
    found = {
        "net": os.readlink("/proc/self/ns/net"),
        "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
        "listening": [line for kind in ("tcp", "tcp6") for line in open(f"/proc/net/{kind}") if line.split()[3] == "0A"],
        "unix": [line for line in open("/proc/net/unix") if "@left" in line],
    }
    held.append(socket.create_server(("127.0.0.1", 7777)))
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind("\\0left")
    held.append(socket.create_connection(("127.0.0.1", 7777)))
    return found
"""


@pytest.fixture
def code_dir(tmp_path):
    code_dir = tmp_path / "code"
    code_dir.mkdir()
    code_dir.chmod(0o755)
    (code_dir / "main.py").write_text(SOURCE)
    return code_dir


async def _network(backend, code_dir, tenant):
    """Return the namespace that a new instance of a tenant has, once the instance is gone."""
    spec = InstanceSpec(
        tenant=tenant, namespace="default", function_id=uuid7(), function_name="net", function_version="1",
        runtime="python", handler="main.handler", code_dir=code_dir,
    )  # fmt: skip
    instance = await backend.create(spec, timeout_s=30)
    try:
        await instance.init(timeout_s=30)
        outcome = await instance.invoke(Call(request_id=uuid7(), payload=b"{}", timeout_s=30))
    finally:
        await instance.destroy()
    assert outcome.error is None, outcome.error
    found = json.loads(outcome.output)
    assert found["interfaces"] == ["lo"]
    assert found["listening"] == []
    assert found["unix"] == []
    return found["net"]


async def test_a_tenant_gets_its_own_again_and_nobody_elses(backend, code_dir):
    annes = await _network(backend, code_dir, "anne")
    bobs = await _network(backend, code_dir, "bob")
    assert bobs != annes
    assert [await _network(backend, code_dir, name) for name in ("anne", "bob", "anne")] == [annes, bobs, annes]
    assert await _network(backend, code_dir, "carl") not in {annes, bobs}


async def test_a_claimed_template_leaves_its_own_to_its_tenant(backend, code_dir):
    await backend.keep_templates({"python"}, memory_bytes=256 << 20)
    seen: dict[str, set[str]] = {"anne": set(), "bob": set()}
    for name in ("anne", "bob", "anne", "bob"):
        with anyio.fail_after(30):
            await backend.templates_ready()
        seen[name].add(await _network(backend, code_dir, name))
    assert not seen["anne"] & seen["bob"]
