"""What nobody uses is not there: every setting is read, every named query is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from constellation.nova.config.sections import Settings

SOURCE = Path(__file__).parents[2] / "src" / "constellation"
STORE = SOURCE / "nova" / "store"
SECTIONS = {section.name: type(section.default) for section in fields(Settings)}
SECTION_OF = {cls.__name__: name for name, cls in SECTIONS.items()}


def _trees() -> Iterator[ast.Module]:
    for path in SOURCE.rglob("*.py"):
        if "gen" not in path.parts:
            yield ast.parse(path.read_text())


def _section(value: ast.expr | None, names: dict[str, str]) -> str | None:
    """Return the section that an expression is: `settings.pool`, or a name that stands for one."""
    match value:
        case ast.Attribute(attr=attr) if attr in SECTIONS:
            return attr
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=ast.Name(id="self"), attr=attr):  # `self._options`
            return names.get(attr.lstrip("_"))
        case ast.Call(func=ast.Attribute(attr=attr)):  # `self._limits(tenant)`, of what is set at run time
            return names.get(attr.lstrip("_"))
    return None


def _class(annotation: ast.expr | None) -> str:
    """Return the class that a name is annotated with, or that it returns: `Callable[[str], BuildSettings]`."""
    match annotation:
        case ast.Name(id=name):
            return name
        case ast.Subscript(value=ast.Name(id="Callable"), slice=ast.Tuple(elts=[_, ast.Name(id=name)])):
            return name
    return ""


def _reads(tree: ast.Module) -> Iterator[tuple[str, str]]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=kind) | ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
                if (cls := _class(kind)) in SECTION_OF:
                    names[name] = SECTION_OF[cls]
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if section := _section(value, names):
                names[name] = section
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (section := _section(node.value, names)):
            yield section, node.attr


def test_every_setting_is_read():
    read = {found for tree in _trees() for found in _reads(tree)}
    declared = {(section, f.name) for section, cls in SECTIONS.items() for f in fields(cls)}
    assert len(declared) > 40
    unread = sorted(".".join(pair) for pair in declared - read)
    assert not unread


def test_every_named_query_is_run():
    unused = []
    for file in (STORE / "sql").glob("*.sql"):
        users = [text for path in STORE.glob("*.py") if f'load("{file.stem}")' in (text := path.read_text())]
        users += _borrowers(file.stem)
        names = re.findall(r"^-- name: (\w+)$", file.read_text(), re.MULTILINE)
        unused += [f"{file.name}: {name}" for name in names if not any(_runs(text, name) for text in users)]
    assert not unused


def _runs(text: str, query: str) -> bool:
    """Tell whether a module names a query: whole, or by parts as in `SQL[f"get_{table}"]`."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Constant(value=value) if value == query:
                return True
            case ast.JoinedStr(values=[ast.Constant(value=str(head)), ast.FormattedValue()]):
                if query.startswith(head) and f'"{query.removeprefix(head)}"' in text:
                    return True
    return False


def _borrowers(noun: str) -> list[str]:
    """Modules that use another's queries: `roles.SQL["exists"]`."""
    return [text for path in STORE.glob("*.py") if f"{noun}.SQL[" in (text := path.read_text())]
