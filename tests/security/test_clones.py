"""Instances forked from one zygote never draw what another one drew, neither while they load nor while they serve.

`make clones` tries ten thousand of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import Call, InstanceSpec
from constellation.comet.namespace.backend import NamespaceBackend
from constellation.comet.namespace.settings import NamespaceSettings, group_name
from constellation.testing.sandboxes import running_backend

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(3600)]

CLONES = int(os.environ.get("CLONES", "300"))
NODES = 20
AT_A_TIME = 4
TEMPLATE_MEMORY_BYTES = 512 << 20

# Each expression has at least 40 random bits: ten thousand clones repeat one by chance once in some thousand runs.
PYTHON = """
import multiprocessing.process, os, random, secrets, sqlite3, ssl, tempfile, uuid

DRAWS = {
    'os.urandom': lambda: os.urandom(16).hex(),
    'random.random': lambda: random.random(),
    'random.Random': lambda: random.Random().getrandbits(64),
    'random.SystemRandom': lambda: random.SystemRandom().getrandbits(64),
    'secrets.token_hex': lambda: secrets.token_hex(16),
    'uuid.uuid4': lambda: str(uuid.uuid4()),
    'uuid.uuid1': lambda: str(uuid.uuid1()),
    'ssl.RAND_bytes': lambda: ssl.RAND_bytes(16).hex(),
    'tempfile': lambda: next(tempfile._get_candidate_names()),
    'sqlite3': lambda: sqlite3.connect(':memory:').execute('SELECT hex(randomblob(16))').fetchone()[0],
}
# What a process draws once, and then has.
OWN = {
    'multiprocessing.authkey': lambda: bytes(multiprocessing.process.current_process().authkey).hex(),
    'uuid.uuid1 node and clock': lambda: [uuid.uuid1().node, uuid.uuid1().clock_seq],
}

def draw():
    return {name: make() for name, make in DRAWS.items()}

IMPORTED = draw()

def handler(event, context):
    return {'drawn': [IMPORTED, draw(), draw()], 'own': {name: make() for name, make in OWN.items()}}
"""
# Imported, and drawn from, in the nursery: what it drew there once is the same in every clone, and left out
USED = """
import os, random, secrets, ssl, uuid
import numpy

def draw():
    return {
        'numpy.random': float(numpy.random.random()),
        'numpy.default_rng': int(numpy.random.default_rng().integers(1 << 62)),
        'os.urandom': os.urandom(16).hex(),
        'random.random': random.random(),
        'secrets.token_hex': secrets.token_hex(16),
        'uuid.uuid4': str(uuid.uuid4()),
        'ssl.RAND_bytes': ssl.RAND_bytes(16).hex(),
    }

BEFORE = draw()
PID = os.getpid()
"""
NUMPY = """
import os
import used

IMPORTED = used.draw()

def handler(event, context):
    return {
        'drawn': [IMPORTED, used.draw(), used.draw()], 'own': {},
        'before': used.BEFORE, 'is_forked': used.PID != os.getpid(),
    }
"""
NODE = """
const crypto = require('node:crypto');
const draw = () => ({
  'crypto.randomUUID': crypto.randomUUID(), 'crypto.randomBytes': crypto.randomBytes(16).toString('hex'),
  'Math.random': Math.random(),
});
const imported = draw();
exports.handler = async () => ({ drawn: [imported, draw(), draw()], own: {} });
"""
HASH = "def handler(event, context):\n    return hash('constellation')\n"


@asynccontextmanager
async def _running(data_dir: Path) -> AsyncIterator[NamespaceBackend]:
    settings = NamespaceSettings(run_dir=data_dir / "run", group=group_name(data_dir))
    async with running_backend(settings) as made:
        if not made.support().available:
            pytest.skip(made.support().reason)
        # Some become instances of templates, made ahead, and some are made when they are asked for
        await made.keep_templates({"python", "node"}, memory_bytes=TEMPLATE_MEMORY_BYTES)
        yield made


@pytest.fixture(scope="module")
async def backend(anyio_backend, tmp_path_factory) -> AsyncIterator[NamespaceBackend]:
    async with _running(tmp_path_factory.mktemp("platform")) as made:
        yield made


def _code(directory: Path, source: str, runtime: str = "python") -> Path:
    directory.mkdir()
    directory.chmod(0o755)
    (directory / ("main.py" if runtime == "python" else "main.js")).write_text(source)
    return directory


def _spec(code_dir: Path, runtime: str = "python", preload: tuple[str, ...] = ()) -> InstanceSpec:
    return InstanceSpec(
        tenant="acme", namespace="prod", function_id=uuid7(), function_name="f", function_version="1",
        runtime=runtime, handler="main.handler", code_dir=code_dir, preload=preload,
    )  # fmt: skip


async def _ask(backend, code_dir: Path, runtime: str = "python", spec: InstanceSpec | None = None):
    """Make an instance, call it once and end it."""
    instance = await backend.create(spec or _spec(code_dir, runtime), timeout_s=30)
    try:
        await instance.init(timeout_s=20)
        outcome = await instance.invoke(Call(request_id=uuid7(), payload=b"null", timeout_s=20))
    finally:
        await instance.destroy()
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output)


async def _repeated(
    backend,
    code_dir: Path,
    *,
    count: int,
    runtime: str = "python",
    spec: InstanceSpec | None = None,
    look: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, int]:
    """Return which sources of randomness repeated themselves, over `count` instances, and how often."""
    seen: dict[str, Counter[str]] = {}
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            answer = await _ask(backend, code_dir, runtime, spec)
            look(answer)
            for drawn in (*answer["drawn"], answer["own"]):
                for name, value in drawn.items():
                    seen.setdefault(name, Counter())[str(value)] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_A_TIME):
            tasks.start_soon(lane)
    assert seen
    assert all(values.total() >= count for values in seen.values())
    return {name: max(values.values()) for name, values in seen.items() if max(values.values()) > 1}


async def test_clones_of_one_zygote_never_draw_the_same(backend, tmp_path):
    assert await _repeated(backend, _code(tmp_path / "code", PYTHON), count=CLONES) == {}


def _with_numpy(code: Path) -> Path:
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        pytest.skip("numpy is not installed here, so there is none to put beside the function's code")
    package = Path(found.origin).parent
    for part in (package, package.with_name("numpy.libs")):
        if part.is_dir():
            shutil.copytree(part, code / "deps" / part.name)
    (code / "used.py").write_text(USED)
    return code


async def test_clones_with_numpy_never_draw_the_same(backend, tmp_path):
    code = _with_numpy(_code(tmp_path / "code", NUMPY))
    assert await _repeated(backend, code, count=min(CLONES, 100)) == {}


async def test_clones_of_a_nursery_never_draw_the_same(backend, tmp_path):
    """All of them forked after `random`, `ssl` and numpy were used, and none draws what was drawn there before."""
    code = _with_numpy(_code(tmp_path / "code", NUMPY))
    spec = _spec(code, preload=("numpy", "used"))
    await (await backend.create(spec, timeout_s=60)).destroy()
    with anyio.fail_after(60):
        await backend.templates_ready()
    if not backend.nurseries:
        pytest.skip("this host keeps no nurseries: it takes root and memory and pids control groups")
    before: dict[str, str] = {}

    def look(answer) -> None:
        assert answer["is_forked"]
        before.update({f"{name} before": str(value) for name, value in answer["before"].items()})
        assert not {str(value) for drawn in answer["drawn"] for value in drawn.values()} & set(before.values())

    assert await _repeated(backend, code, count=CLONES, spec=spec, look=look) == {}
    assert len(before) == len(set(before.values())) == 7, "there was one nursery"


async def test_processes_of_node_never_draw_the_same(backend, tmp_path):
    if "node" not in backend.runtimes.installed:
        pytest.skip("there is no node here")
    code = _code(tmp_path / "code", NODE, "node")
    assert await _repeated(backend, code, count=NODES, runtime="node") == {}


async def test_each_fork_server_has_a_hash_seed_of_its_own(backend, tmp_path):
    """Clones share the seed of `hash` with their zygote (README, "Not protected"); two zygotes do not."""
    code = _code(tmp_path / "code", HASH)
    ours = await _ask(backend, code)
    async with _running(tmp_path / "other") as other:
        assert await _ask(other, code) != ours
