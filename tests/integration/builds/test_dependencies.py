"""Packages from lock files, from the registries that this machine is configured for."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call
from constellation.comet.builds.contract import BuildFailed
from constellation.testing.registries import configured_sources

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sources():
    found = configured_sources()
    parts = urlsplit(found.pip.url)
    try:
        socket.create_connection((parts.hostname, parts.port or 443), 5).close()
    except OSError as error:
        pytest.skip(f"the configured package index can not be reached: {error}")
    return found


async def _answer(instance, event=None, **fields):
    outcome = await instance.invoke(
        Call(request_id=uuid7(), payload=json.dumps(event).encode(), timeout_s=30, **fields)
    )
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


PURE = """
import idna

def handler(event, context):
    return {"encoded": idna.encode(event["host"]).decode(), "from": idna.__file__}
"""


async def test_python_packages_come_from_requirements(rig):
    files = {"main.py": PURE, "requirements.txt": "idna==3.10\n"}
    request = await rig.built("python", files)
    async with rig.running(request) as instance:
        found = await _answer(instance, {"host": "ドメイン"})
    assert found == {"encoded": "xn--eckwd4c7c", "from": "/code/deps/idna/__init__.py"}


async def test_a_wrong_hash_is_refused(rig):
    files = {"main.py": PURE, "requirements.txt": f"idna==3.10 --hash=sha256:{'0' * 64}\n"}
    with pytest.raises(BuildFailed, match="DO NOT MATCH THE HASHES"):
        await rig.built("python", files)


async def test_an_unknown_package_is_told(rig):
    with pytest.raises(BuildFailed, match="No matching distribution found for idna==999"):
        await rig.built("python", {"main.py": PURE, "requirements.txt": "idna==999\n"})


NUMPY = """
import sys
at_start = "numpy" in sys.modules
import numpy

def handler(event, context):
    return {"sum": float(numpy.arange(event).sum()), "preloaded": at_start}
"""


async def test_numpy_from_requirements_can_be_preloaded(rig):
    request = await rig.built("python", {"main.py": NUMPY, "requirements.txt": "numpy==2.2.6\n"})
    await rig.backend.keep_templates({"python"}, memory_bytes=1 << 30)
    fields = {"preload": ("numpy",), "memory_mb": 256}
    async with rig.running(request, **fields) as instance:
        assert (await _answer(instance, 5))["sum"] == 10
    if rig.backend.support().preload_reason:
        return
    with anyio.fail_after(60):
        while not rig.backend.nurseries:
            await anyio.sleep(0.05)
    async with rig.running(request, **fields) as instance:
        assert await _answer(instance, 5) == {"sum": 10, "preloaded": True}


NODE = "const isOdd = require('is-odd'); exports.handler = (event) => ({ odd: isOdd(event) });"
MANIFEST = {"name": "f", "version": "1.0.0", "dependencies": {"is-odd": "3.0.1"}}


def _lock(**more):
    packages = {
        "": {"name": "f", "version": "1.0.0", "dependencies": {"is-odd": "3.0.1"}},
        "node_modules/is-odd": {"version": "3.0.1", "resolved": "https://registry.npmjs.org/is-odd/-/is-odd-3.0.1.tgz",
                                "dependencies": {"is-number": "^6.0.0"}, **more},
        "node_modules/is-number": {"version": "6.0.0", "resolved": "https://registry.npmjs.org/is-number/-/is-number-6.0.0.tgz"},
    }  # fmt: skip
    return json.dumps({"name": "f", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": packages})


async def test_node_packages_come_from_the_lock_file(rig):
    files = {"main.js": NODE, "package.json": json.dumps(MANIFEST), "package-lock.json": _lock()}
    request = await rig.built("node", files)
    async with rig.running(request) as instance:
        assert await _answer(instance, 3) == {"odd": True}


async def test_a_changed_node_package_is_refused(rig):
    lock = _lock(integrity="sha512-" + "A" * 86 + "==")
    with pytest.raises(BuildFailed, match="EINTEGRITY"):
        await rig.built("node", {"main.js": NODE, "package.json": json.dumps(MANIFEST), "package-lock.json": lock})
