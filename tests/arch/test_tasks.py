"""Every task has a parent, nothing is mocked, every import list is explicit about annotations."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    p for p in (ROOT / "src").rglob("*.py") if not {"gen", "inside"} & set(p.parts) and p.name != "worker.py"
)
BANNED_CALLS = {"create_task", "ensure_future", "gather"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_no_task_without_a_parent(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in BANNED_CALLS, f"{path}:{node.lineno} calls {name}"


def test_nothing_is_mocked():
    for path in (ROOT / "tests").rglob("*.py"):
        if path.parent.name != "arch":
            assert "unittest.mock" not in path.read_text(), path
