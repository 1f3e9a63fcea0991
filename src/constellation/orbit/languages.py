"""What orbit knows of languages without asking the platform: names of files, and where a handler may be."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import PurePosixPath

_JS_EXPORT = re.compile(
    r"^\s*export\s+(?:async\s+)?(?:function\*?|const|let|var)\s*\*?\s*([A-Za-z_$][\w$]*)"
    r"|^\s*(?:module\.)?exports\.([A-Za-z_$][\w$]*)\s*=",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One runtime's habits. `entries` are the files that are taken for the entry, the likeliest first."""

    runtime: str
    extensions: tuple[str, ...]
    entries: tuple[str, ...]
    starter: str  # the file that `orbit init` writes
    names: re.Pattern[str] | None = None  # of what a file makes known; None: its function's name is always the usual
    function: str = "handler"

    def source(self, name: str) -> str:
        """Return what `orbit init` writes for a function of this name."""
        text = files("constellation.orbit").joinpath("starters", self.runtime, self.starter).read_text("utf-8")
        return text.replace("@name@", name)


def _language(
    runtime: str, extension: str, *others: str, stems: tuple[str, ...] = ("main", "handler"), names: str = ""
) -> Language:
    return Language(
        runtime=runtime,
        extensions=(extension, *others),
        entries=tuple(stem + extension for stem in stems),
        starter=stems[0] + extension,
        names=re.compile(names, re.MULTILINE) if names else None,
    )


PYTHON = _language("python", ".py", stems=("main", "handler", "app"))
NODE = Language(
    runtime="node",
    extensions=(".mjs", ".js", ".cjs"),
    entries=("main.mjs", "main.js", "main.cjs", "index.mjs", "index.js", "handler.mjs", "handler.js"),
    starter="main.mjs",
    names=_JS_EXPORT,
)
# A .ts file of which nothing else is known is taken for Deno's, the first.
DENO, BUN = (
    Language(
        runtime=runtime,
        extensions=(".ts", other),
        entries=("main.ts", "index.ts", "handler.ts"),
        starter="main.ts",
        names=_JS_EXPORT,
    )
    for runtime, other in (("deno", ".mts"), ("bun", ".tsx"))
)
_ALL = (
    PYTHON,
    NODE,
    DENO,
    BUN,
    _language("ruby", ".rb", stems=("main", "handler", "app"), names=r"^def\s+([a-z_]\w*)"),
    _language("php", ".php", stems=("main", "index", "handler"), names=r"^function\s+([A-Za-z_]\w*)"),
    _language("lua", ".lua", stems=("main", "init", "handler"), names=r"^function\s+(?:\w+[.:])?([A-Za-z_]\w*)"),
    _language("perl", ".pl", names=r"^sub\s+([A-Za-z_]\w*)"),
    _language("r", ".R", ".r", stems=("main", "handler", "app"), names=r"^([A-Za-z]\w*)\s*(?:<-|=)\s*function\b"),
    _language("elixir", ".exs", ".ex", names=r"^\s*def\s+([a-z_]\w*)"),
    _language("c", ".c"),
    _language("cpp", ".cpp", ".cc", ".cxx"),
    replace(_language("go", ".go"), function="Handler"),
    _language("rust", ".rs"),
    _language("java", ".java", stems=("Main",)),
    _language("kotlin", ".kt"),
    _language("scala", ".scala", stems=("Main",)),
    _language("zig", ".zig"),
    replace(
        _language("wasm", ".wat", ".wasm"),
        entries=("main.wasm", "main.wat", "handler.wasm", "handler.wat"),
        function="handle",
    ),
)
LANGUAGES = {language.runtime: language for language in _ALL}


def language_of(file_name: str) -> Language | None:
    """Return the language of a source file by its extension."""
    suffix = PurePosixPath(file_name).suffix
    return next((language for language in LANGUAGES.values() if suffix in language.extensions), None)


def handler_of(path: str, source: str) -> str:
    """Return "module.function" for a source file: `handler` when it is there, else the only function, else `handler`.

    Code that can not be parsed keeps the default: the platform says what is wrong with it, with the line.
    """
    language = language_of(path)
    usual = "handler" if language is None else language.function
    if language is PYTHON:
        names = _python_names(source)
    else:
        names = [] if language is None or language.names is None else _names(source, language.names)
    name = usual if usual in names or len(names) != 1 else names[0]
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


def _names(source: str, pattern: re.Pattern[str]) -> list[str]:
    return [next(filter(None, match.groups())) for match in pattern.finditer(source)]
