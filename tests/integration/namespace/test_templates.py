"""What is held ready follows what is deployed, within a bound of memory."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from constellation.base.errors import Unavailable
from constellation.comet.namespace.settings import NamespaceSettings
from constellation.comet.templates import TemplateKeeper
from constellation.testing.fake_backend import FakeBackend
from constellation.testing.sandboxes import running_backend

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox]

MEMORY = 256 << 20


@pytest.fixture
async def backend(tmp_path):
    settings = NamespaceSettings(run_dir=tmp_path / "run", group=f"constellation-t{tmp_path.name[-6:]}")
    async with running_backend(settings) as backend:
        if not backend.support().available:
            pytest.skip(backend.support().reason)
        yield backend


def _names(backend):
    return {path.stem for path in backend._settings.run_dir.glob("*.json")}


async def _becomes(backend, names):
    with anyio.fail_after(20):
        while _names(backend) != names:
            await anyio.sleep(0.02)


async def test_templates_follow_what_is_used(backend):
    await backend.keep_templates({"python", "node"}, memory_bytes=MEMORY)
    await _becomes(backend, {"python", "exec"})
    await backend.keep_templates({"node", "cobol"}, memory_bytes=MEMORY)
    await _becomes(backend, {"exec"})
    await backend.keep_templates((), memory_bytes=MEMORY)
    await _becomes(backend, set())


async def test_no_template_is_added_over_the_bound(backend):
    await backend.keep_templates({"python"}, memory_bytes=0)
    assert _names(backend) == set()
    await backend.keep_templates({"node", "python"}, memory_bytes=1)  # room for the first alone
    assert _names(backend) == {"exec"}


class _Functions:
    def __init__(self):
        self.answers = [("python",), Unavailable("the database", reason="it was killed"), ("node", "python")]

    async def list_runtimes(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Always:
    async def wait(self, *, within_s):
        return True


async def test_an_absent_database_changes_nothing():
    backend, functions = FakeBackend(), _Functions()
    keeper = TemplateKeeper(functions, backend, memory_bytes=MEMORY)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await tasks.start(keeper.run, contextlib.nullcontext(_Always()))
            while len(functions.answers) > 1:
                await anyio.sleep(0.01)
            while backend.templates != {"node", "python"}:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
