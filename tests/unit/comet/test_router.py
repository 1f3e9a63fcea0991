"""Which backend an instance comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec, SandboxStartFailed
from constellation.comet.backend.router import Router

pytestmark = pytest.mark.anyio


@dataclass
class Named:
    """As much of a backend as a choice needs."""

    name: str
    is_able: bool = True

    def support(self):
        return SimpleNamespace(available=self.is_able)

    async def create(self, spec, *, timeout_s):
        return self.name


def _spec(runtime: str, backend: str = "auto") -> InstanceSpec:
    return InstanceSpec(
        tenant="t", namespace="n", function_id=uuid7(), function_name="f", function_version="1", runtime=runtime,
        handler="main.handler", code_dir=Path("/code"), backend=backend,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("runtime", "backend", "able", "chosen"),
    [
        ("python", "auto", ("first", "own"), "first"),
        ("python", "auto", ("own",), "own"),
        ("wasm", "auto", ("first", "own"), "own"),
        ("wasm", "auto", ("first",), "first"),
        ("wasm", "first", ("first", "own"), "first"),
        ("python", "own", ("first",), "own"),
    ],
)
async def test_auto_is_the_usual_one_of_a_language_where_that_can_run(runtime, backend, able, chosen):
    backends = [Named("first", "first" in able), Named("own", "own" in able)]
    router = Router(backends, usual={"wasm": "own"})
    assert await router.create(_spec(runtime, backend), timeout_s=1) == chosen


async def test_a_backend_that_is_not_here_is_refused_by_name():
    with pytest.raises(SandboxStartFailed, match="'absent' is not one of this node's: first"):
        await Router([Named("first")]).create(_spec("python", "absent"), timeout_s=1)
