"""Which of several backends an instance comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import BackendSupport, InstanceSpec, SandboxStartFailed
from constellation.comet.backend.router import Router

pytestmark = pytest.mark.anyio


class Plain:
    """A backend that tells who was asked."""

    def __init__(self, name: str, *, available: bool = True) -> None:
        self.name, self.available, self.events = name, available, []

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        self.events.append("began")
        yield
        self.events.append("ended")

    def support(self) -> BackendSupport:
        return BackendSupport(name=self.name, available=self.available, reason="", limits={})

    async def create(self, spec: InstanceSpec, *, timeout_s: float) -> str:
        return self.name

    async def keep_templates(self, runtimes, *, memory_bytes) -> None:
        self.events.append(f"templates {sorted(runtimes)}")


def spec(backend: str) -> InstanceSpec:
    return InstanceSpec(
        tenant="t", namespace="n", function_id=uuid7(), function_name="f", function_version="1", runtime="python",
        handler="main.handler", code_dir=Path("/code"), backend=backend,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "first_can_run", "got"),
    [
        ("auto", True, "one"),
        ("auto", False, "two"),
        ("one", False, "one"),  # named, and says itself what is missing
        ("two", True, "two"),
    ],
)
async def test_an_instance_comes_from_the_backend_that_its_function_names(wanted, first_can_run, got):
    router = Router([Plain("one", available=first_can_run), Plain("two")])
    assert await router.create(spec(wanted), timeout_s=1) == got


async def test_where_none_can_run_the_default_says_why():
    router = Router([Plain("one", available=False), Plain("two", available=False)])
    assert await router.create(spec("auto"), timeout_s=1) == "one"
    assert router.support().name == "one"


async def test_a_backend_that_this_node_has_not_is_named_with_those_it_has():
    router = Router([Plain("one"), Plain("two")])
    with pytest.raises(SandboxStartFailed, match=r"'three' is not one of this node's: one, two"):
        await router.create(spec("three"), timeout_s=1)


async def test_all_run_together_and_all_hear_of_templates():
    parts = [Plain("one"), Plain("two")]
    router = Router(parts)
    async with router.run():
        await router.keep_templates({"python"}, memory_bytes=1)
        assert [part.events for part in parts] == [["began", "templates ['python']"]] * 2
    assert [part.events[-1] for part in parts] == ["ended"] * 2
