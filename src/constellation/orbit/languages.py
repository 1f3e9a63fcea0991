"""What orbit knows of languages without asking the platform: names of files, and where a handler may be."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One runtime's habits. `entries` are the files that are taken for the entry, the likeliest first."""

    runtime: str
    extensions: tuple[str, ...]
    entries: tuple[str, ...]
    starter: str  # the file that `orbit init` writes
    source: str


PYTHON = Language(
    runtime="python",
    extensions=(".py",),
    entries=("main.py", "handler.py", "app.py"),
    starter="main.py",
    source='''"""{name}: called with the request's JSON; what it returns becomes the answer's `output`."""


def handler(event, context):
    name = (event or {{}}).get("name", "world")
    print(f"greeting {{name}}")  # shown by `orbit logs {name}`
    return {{"message": f"Hello, {{name}}!"}}
''',
)
NODE = Language(
    runtime="node",
    extensions=(".mjs", ".js", ".cjs"),
    entries=("main.mjs", "main.js", "main.cjs", "index.mjs", "index.js", "handler.mjs", "handler.js"),
    starter="main.mjs",
    source="""// {name}: called with the request's JSON; what it returns becomes the answer's `output`.

export async function handler(event, context) {{
  const name = event?.name ?? 'world';
  console.log(`greeting ${{name}}`); // shown by `orbit logs {name}`
  return {{ message: `Hello, ${{name}}!` }};
}}
""",
)
LANGUAGES = {language.runtime: language for language in (PYTHON, NODE)}
_JS_EXPORT = re.compile(
    r"^\s*export\s+(?:async\s+)?(?:function\*?|const|let|var)\s*\*?\s*([A-Za-z_$][\w$]*)"
    r"|^\s*(?:module\.)?exports\.([A-Za-z_$][\w$]*)\s*=",
    re.MULTILINE,
)


def language_of(file_name: str) -> Language | None:
    """Return the language of a source file by its extension."""
    suffix = PurePosixPath(file_name).suffix
    return next((language for language in LANGUAGES.values() if suffix in language.extensions), None)


def handler_of(path: str, source: str) -> str:
    """Return "module.function" for a source file: `handler` when it is there, else the only function, else `handler`.

    Code that can not be parsed keeps the default: the platform says what is wrong with it, with the line.
    """
    names = _python_names(source) if path.endswith(".py") else _node_names(source)
    name = "handler" if "handler" in names or len(names) != 1 else names[0]
    module = PurePosixPath(path).with_suffix("").as_posix().replace("/", ".")
    return f"{module}.{name}"


def _python_names(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            found += [alias.asname or alias.name for alias in node.names if (alias.asname or alias.name) == "handler"]
        elif isinstance(node, ast.Assign):
            found += [target.id for target in node.targets if isinstance(target, ast.Name) and target.id == "handler"]
    return [name for name in found if not name.startswith("_")]


def _node_names(source: str) -> list[str]:
    return [match[1] or match[2] for match in _JS_EXPORT.finditer(source)]
