"""What orbit knows of languages without asking the platform: names of files, and where a handler may be."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_JS_EXPORT = re.compile(
    r"^\s*export\s+(?:async\s+)?(?:function\*?|const|let|var)\s*\*?\s*([A-Za-z_$][\w$]*)"
    r"|^\s*(?:module\.)?exports\.([A-Za-z_$][\w$]*)\s*=",
    re.MULTILINE,
)
_RUBY_METHOD = re.compile(r"^def\s+([a-z_]\w*)", re.MULTILINE)
_PHP_FUNCTION = re.compile(r"^function\s+([A-Za-z_]\w*)", re.MULTILINE)
_LUA_FUNCTION = re.compile(r"^function\s+(?:\w+[.:])?([A-Za-z_]\w*)", re.MULTILINE)
_R_FUNCTION = re.compile(r"^([A-Za-z]\w*)\s*(?:<-|=)\s*function\b", re.MULTILINE)
_ELIXIR_FUNCTION = re.compile(r"^\s*def\s+([a-z_]\w*)", re.MULTILINE)
_PERL_SUB = re.compile(r"^sub\s+([A-Za-z_]\w*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One runtime's habits. `entries` are the files that are taken for the entry, the likeliest first."""

    runtime: str
    extensions: tuple[str, ...]
    entries: tuple[str, ...]
    starter: str  # the file that `orbit init` writes
    source: str
    names: re.Pattern[str]  # of what a file makes known; not of Python's, which is parsed


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
    names=re.compile(""),
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
    names=_JS_EXPORT,
)
_TYPED = """// {name}: called with the request's JSON; what it returns becomes the answer's `output`.

export async function handler(event: {{ name?: string }} | null, context: unknown): Promise<{{ message: string }}> {{
  const name = event?.name ?? 'world';
  console.log(`greeting ${{name}}`); // shown by `orbit logs {name}`
  return {{ message: `Hello, ${{name}}!` }};
}}
"""
DENO = Language(
    runtime="deno",
    extensions=(".ts", ".mts"),
    entries=("main.ts", "index.ts", "handler.ts"),
    starter="main.ts",
    source=_TYPED,
    names=_JS_EXPORT,
)
# A .ts file of which nothing else is known is taken for Deno's.
BUN = Language(
    runtime="bun",
    extensions=(".ts", ".tsx"),
    entries=("main.ts", "index.ts", "handler.ts"),
    starter="main.ts",
    source=_TYPED,
    names=_JS_EXPORT,
)
RUBY = Language(
    runtime="ruby",
    extensions=(".rb",),
    entries=("main.rb", "handler.rb", "app.rb"),
    starter="main.rb",
    source="""# {name}: called with the request's JSON; what it returns becomes the answer's `output`.

def handler(event, context)
  name = event && event["name"] || "world"
  puts "greeting #{{name}}" # shown by `orbit logs {name}`
  {{ message: "Hello, #{{name}}!" }}
end
""",
    names=_RUBY_METHOD,
)
PHP = Language(
    runtime="php",
    extensions=(".php",),
    entries=("main.php", "index.php", "handler.php"),
    starter="main.php",
    source="""<?php
// {name}: called with the request's JSON; what it returns becomes the answer's `output`.

function handler($event, $context)
{{
    $name = $event['name'] ?? 'world';
    echo "greeting $name\\n"; // shown by `orbit logs {name}`
    return ['message' => "Hello, $name!"];
}}
""",
    names=_PHP_FUNCTION,
)
LUA = Language(
    runtime="lua",
    extensions=(".lua",),
    entries=("main.lua", "init.lua", "handler.lua"),
    starter="main.lua",
    source="""-- {name}: called with the request's JSON; what it returns becomes the answer's `output`.

local M = {{}}

function M.handler(event, context)
  local name = event and event.name or "world"
  print("greeting " .. name) -- shown by `orbit logs {name}`
  return {{ message = "Hello, " .. name .. "!" }}
end

return M
""",
    names=_LUA_FUNCTION,
)
PERL = Language(
    runtime="perl",
    extensions=(".pl",),
    entries=("main.pl", "handler.pl"),
    starter="main.pl",
    source="""# {name}: called with the request's JSON; what it returns becomes the answer's `output`.

use strict;
use warnings;

sub handler {{
    my ($event, $context) = @_;
    my $name = $event->{{name}} // 'world';
    print "greeting $name\\n";    # shown by `orbit logs {name}`
    return {{ message => "Hello, $name!" }};
}}

1;
""",
    names=_PERL_SUB,
)
R = Language(
    runtime="r",
    extensions=(".R", ".r"),
    entries=("main.R", "handler.R", "app.R"),
    starter="main.R",
    source="""# {name}: called with the request's JSON; what it returns becomes the answer's `output`.

handler <- function(event, context) {{
  name <- if (is.null(event$name)) "world" else event$name
  cat("greeting", name, "\\n") # shown by `orbit logs {name}`
  list(message = paste0("Hello, ", name, "!"))
}}
""",
    names=_R_FUNCTION,
)
ELIXIR = Language(
    runtime="elixir",
    extensions=(".exs", ".ex"),
    entries=("main.exs", "handler.exs", "main.ex"),
    starter="main.exs",
    source="""# {name}: called with the request's JSON; what it returns becomes the answer's `output`.

defmodule Main do
  def handler(event, _context) do
    name = (event || %{{}})["name"] || "world"
    IO.puts("greeting #{{name}}") # shown by `orbit logs {name}`
    %{{message: "Hello, #{{name}}!"}}
  end
end
""",
    names=_ELIXIR_FUNCTION,
)
LANGUAGES = {language.runtime: language for language in (PYTHON, NODE, DENO, BUN, RUBY, PHP, LUA, PERL, R, ELIXIR)}


def language_of(file_name: str) -> Language | None:
    """Return the language of a source file by its extension."""
    suffix = PurePosixPath(file_name).suffix
    return next((language for language in LANGUAGES.values() if suffix in language.extensions), None)


def handler_of(path: str, source: str) -> str:
    """Return "module.function" for a source file: `handler` when it is there, else the only function, else `handler`.

    Code that can not be parsed keeps the default: the platform says what is wrong with it, with the line.
    """
    language = language_of(path)
    if language is PYTHON:
        names = _python_names(source)
    else:
        names = _names(source, language.names) if language is not None else []
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


def _names(source: str, pattern: re.Pattern[str]) -> list[str]:
    return [next(filter(None, match.groups())) for match in pattern.finditer(source)]
