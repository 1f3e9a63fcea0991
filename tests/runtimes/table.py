"""What each language runs in the table of situations: the same few functions, in the language's own words.

`ECHO` prints `saw` and a snowman and returns {"got": event}. `FAILS` raises "no such thing" two functions deep, on line 2.
`FLOOD` prints 5,000 lines. `HANGS` never returns. `STREAM` gives "a", "snowman", {"n": 1} one by one. `GROWS` takes memory
until there is none. `FACTS` returns the context. `BROKEN` can not be loaded. `MEETS` returns once twenty calls are in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SNOWMAN = "\u2603"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    echo: str
    fails: str
    flood: str
    hangs: str
    stream: str
    grows: str
    facts: str
    broken: str
    exits: str
    leans: str  # returns what the package `snow` of `package` says
    package: Mapping[str, str]  # path -> text
    nan: str  # returns what JSON can not hold, at a place called `deep`
    meets: str = ""  # where calls can overlap
    forks: str = (
        ""  # where a process can be copied: the copy returns "copy", the original waits for it and returns "one"
    )
    entry: str = "main"
    memory_mb: int = 128
    exact_digits: int = 16  # of a number that goes in and out unchanged


_FACTS = (
    "request_id", "function_name", "function_version", "tenant", "namespace", "memory_limit_mb", "deadline",
)  # fmt: skip
_JS_FACTS = (
    "({ " + ", ".join(f"{name}: c.{name}" for name in _FACTS) + ", remaining_ms: c.remaining_ms(), trace: c.trace })"
)

_JS = Sources(
    echo="exports.handler = async (event) => { console.log('saw', '\u2603'); return { got: event }; };\n",
    fails="function inner() {\n  throw new RangeError('no such thing'); }\nexports.handler = async () => inner();\n",
    flood="exports.handler = () => { for (let i = 0; i < 5000; i++) console.log('x'.repeat(99)); return 1; };\n",
    hangs="exports.handler = () => { for (;;); };\n",
    stream="exports.handler = async function* () { yield 'a'; yield '\u2603'; yield { n: 1 }; };\n",
    grows="exports.handler = () => { const held = []; for (;;) held.push(new Array(1e5).fill({}).map(() => [1])); };\n",
    facts=f"exports.handler = (e, c) => {{ c.logger.info('noted'); return {_JS_FACTS}; }};\n",
    broken="exports.handler = (\n",
    exits="exports.handler = () => { console.log('bye'); process.exit(3); };\n",
    nan="exports.handler = () => ({ deep: NaN });\n",
    leans="const { snow } = require('snow');\nexports.handler = () => snow();\n",
    package={
        "node_modules/snow/package.json": '{"name": "snow", "main": "lib/snow.js"}',
        "node_modules/snow/lib/snow.js": "exports.snow = () => '\u2603';\n",
    },
    meets=(
        "let here = 0;\n"
        "exports.handler = async (e) => { here++; console.log('call', e);\n"
        "  while (here < 20) await new Promise((done) => setTimeout(done, 1)); return e; };\n"
    ),
)
_TS = Sources(
    echo="export const handler = async (event: unknown) => { console.log('saw', '\u2603'); return { got: event }; };\n",
    fails="function inner(): never {\n  throw new RangeError('no such thing'); }\nexport const handler = async () => inner();\n",
    flood="export const handler = () => { for (let i = 0; i < 5000; i++) console.log('x'.repeat(99)); return 1; };\n",
    hangs="export const handler = () => { for (;;); };\n",
    stream="export async function* handler() { yield 'a'; yield '\u2603'; yield { n: 1 }; }\n",
    grows=(
        "export const handler = () => { const held: unknown[] = [];\n"
        "  for (;;) held.push(new Array(1e5).fill({}).map(() => [1])); };\n"
    ),
    facts=f"export const handler = (e: any, c: any) => {{ c.logger.info('noted'); return {_JS_FACTS}; }};\n",
    broken="export const handler = (\n",
    exits=(
        "import process from 'node:process';\nexport const handler = () => { console.log('bye'); process.exit(3); };\n"
    ),
    nan="export const handler = () => ({ deep: NaN });\n",
    leans="import { snow } from 'snow';\nexport const handler = () => snow();\n",
    package={
        "package.json": '{"dependencies": {"snow": "1"}}',
        "node_modules/snow/package.json": '{"name": "snow", "version": "1.0.0", "type": "module", "exports": "./snow.js"}',
        "node_modules/snow/snow.js": "export const snow = () => '\u2603';\n",
    },
    meets=(
        "let here = 0;\n"
        "export const handler = async (e: number) => { here++; console.log('call', e);\n"
        "  while (here < 20) await new Promise((done) => setTimeout(done, 1)); return e; };\n"
    ),
    memory_mb=256,
)


def _elixir(functions: str) -> str:
    return f"defmodule Main do\n  {functions}\nend\n"


TABLE: Mapping[str, Sources] = {
    "python": Sources(
        echo="def handler(event, context):\n    print('saw', '\u2603')\n    return {'got': event}\n",
        fails="def inner():\n    raise LookupError('no such thing')\ndef handler(event, context):\n    inner()\n",
        flood="def handler(event, context):\n    for _ in range(5000):\n        print('x' * 99)\n    return 1\n",
        hangs="def handler(event, context):\n    while True: pass\n",
        stream="def handler(event, context):\n    yield 'a'\n    yield '\u2603'\n    yield {'n': 1}\n",
        grows="def handler(event, context):\n    held = []\n    while True: held.append(bytearray(1 << 20))\n",
        facts=(
            "def handler(e, c):\n    c.logger.info('noted')\n"
            f"    facts = {{name: getattr(c, name) for name in {_FACTS!r}}}\n"
            "    trace = {name: getattr(c.trace, name) for name in ('trace_id', 'span_id', 'traceparent')}\n"
            "    return facts | {'remaining_ms': c.remaining_ms(), 'trace': trace}\n"
        ),
        broken="def handler(\n",
        exits="import sys\ndef handler(event, context):\n    print('bye')\n    sys.exit(3)\n",
        nan="def handler(event, context):\n    return {'deep': float('nan')}\n",
        forks=(
            "import os\ndef handler(event, context):\n    child = os.fork()\n    if child == 0: return 'copy'\n"
            "    os.waitpid(child, 0)\n    return 'one'\n"
        ),
        leans="from snow import snow\ndef handler(event, context):\n    return snow()\n",
        package={"deps/snow/__init__.py": "def snow():\n    return '\u2603'\n"},
        meets=(
            "import time\nhere = 0\ndef handler(e, c):\n    global here\n    here += 1\n    print('call', e)\n"
            "    while here < 20: time.sleep(0.001)\n    return e\n"
        ),
    ),
    "node": _JS,
    "deno": _TS,
    "bun": _TS,
    "ruby": Sources(
        echo="def handler(event, context)\n  puts 'saw \u2603'\n  { got: event }\nend\n",
        fails="def inner\n  raise KeyError, 'no such thing'\nend\ndef handler(event, context) = inner\n",
        flood="def handler(event, context)\n  5000.times { puts 'x' * 99 }\n  1\nend\n",
        hangs="def handler(event, context)\n  loop {}\nend\n",
        stream="def handler(event, context)\n  Enumerator.new { |out| out << 'a' << '\u2603' << { n: 1 } }\nend\n",
        grows="def handler(event, context)\n  held = []\n  loop { held << 'x' * (1 << 20) }\nend\n",
        facts=(
            "def handler(e, c)\n  c.logger.info('noted')\n"
            f"  facts = %w[{' '.join(_FACTS)}].to_h {{ |name| [name, c.public_send(name)] }}\n"
            "  facts.merge(remaining_ms: c.remaining_ms, trace: c.trace.to_h.merge(traceparent: c.trace.traceparent))\n"
            "end\n"
        ),
        broken="def handler(\n",
        exits="def handler(event, context)\n  puts 'bye'\n  exit 3\nend\n",
        nan="def handler(event, context) = { deep: Float::NAN }\n",
        forks=(
            "def handler(event, context)\n  child = fork\n  return 'copy' unless child\n"
            "  Process.wait(child)\n  'one'\nend\n"
        ),
        leans="require 'snow'\ndef handler(event, context) = Snow.fall\n",
        package={
            "vendor/bundle/ruby/3.1.0/gems/snow-1.0/lib/snow.rb": "module Snow\n  def self.fall = '\u2603'\nend\n"
        },
        meets=(
            '$here = 0\ndef handler(e, c)\n  $here += 1\n  puts "call #{e}"\n  sleep 0.001 while $here < 20\n  e\nend\n'
        ),
    ),
    "php": Sources(
        echo="<?php\nfunction handler($event, $context) { echo \"saw \u2603\\n\"; return ['got' => $event]; }\n",
        fails=(
            "<?php function inner() {\n  throw new DomainException('no such thing'); }\n"
            "function handler($event, $context) { inner(); }\n"
        ),
        flood=(
            "<?php\nfunction handler($event, $context)\n"
            "{ for ($i = 0; $i < 5000; $i++) echo str_repeat('x', 99), \"\\n\"; return 1; }\n"
        ),
        hangs="<?php\nfunction handler($event, $context) { for (;;); }\n",
        stream="<?php\nfunction handler($event, $context) { yield 'a'; yield '\u2603'; yield ['n' => 1]; }\n",
        grows="<?php\nfunction handler($event, $context) { $held = []; for (;;) $held[] = str_repeat('x', 1 << 20); }\n",
        facts=(
            "<?php\nfunction handler($e, $c) {\n  $c->logger->info('noted');\n"
            f"  foreach ({list(_FACTS)!r} as $name) $facts[$name] = $c->$name;\n"
            "  return $facts + ['remaining_ms' => $c->remaining_ms(), 'trace' => $c->trace];\n}\n"
        ),
        broken="<?php\nfunction handler(\n",
        exits='<?php\nfunction handler($event, $context) { echo "bye\\n"; exit(3); }\n',
        nan="<?php\nfunction handler($event, $context) { return ['deep' => NAN]; }\n",
        forks=(
            "<?php\nfunction handler($event, $context) {\n  $child = pcntl_fork();\n  if ($child === 0) return 'copy';\n"
            "  pcntl_waitpid($child, $status);\n  return 'one';\n}\n"
        ),
        leans="<?php\nfunction handler($event, $context) { return Snow\\fall(); }\n",
        package={
            "vendor/autoload.php": "<?php\nrequire __DIR__ . '/snow/snow.php';\n",
            "vendor/snow/snow.php": "<?php\nnamespace Snow;\nfunction fall() { return '\u2603'; }\n",
        },
    ),
    "lua": Sources(
        echo='return { handler = function(event) print("saw \u2603") return { got = event } end }\n',
        fails=(
            "local function inner()\n  error('no such thing') end\n"
            "return { handler = function() inner() return 1 end }\n"
        ),
        flood="return { handler = function() for _ = 1, 5000 do print(('x'):rep(99)) end return 1 end }\n",
        hangs="return { handler = function() while true do end end }\n",
        stream=(
            "return { handler = function() return coroutine.create(function()\n"
            "  coroutine.yield('a') coroutine.yield('\u2603') coroutine.yield({ n = 1 }) end) end }\n"
        ),
        grows="return { handler = function() local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1 << 20) .. i end end }\n",
        facts=(
            "return { handler = function(e, c)\n  c.logger:info('noted')\n  local facts = {}\n"
            f"  for _, name in ipairs({{ {', '.join(map(repr, _FACTS))} }}) do facts[name] = c[name] end\n"
            "  facts.remaining_ms, facts.trace = c.remaining_ms(), c.trace\n  return facts\nend }\n"
        ),
        broken="return { handler = function(\n",
        exits="return { handler = function() print('bye') os.exit(3) end }\n",
        nan="return { handler = function() return { deep = 0 / 0 } end }\n",
        leans="local snow = require('snow')\nreturn { handler = function() return snow.fall() end }\n",
        package={"vendor/share/lua/5.4/snow.lua": "return { fall = function() return '\u2603' end }\n"},
    ),
    "perl": Sources(
        echo='use utf8;\nsub handler { my ($event) = @_; print "saw \u2603\\n"; return { got => $event } }\n1;\n',
        fails="sub inner {\n  die 'no such thing' }\nsub handler { inner(); return 1 }\n1;\n",
        flood='sub handler { print "x" x 99, "\\n" for 1 .. 5000; return 1 }\n1;\n',
        hangs="sub handler { 1 while 1 }\n1;\n",
        stream=("use utf8;\nsub handler { my @left = ('a', '\u2603', { n => 1 }); return sub { shift @left } }\n1;\n"),
        grows='sub handler { my @held; push @held, "x" x (1 << 20) . @held while 1 }\n1;\n',
        facts=(
            "sub handler { my ($e, $c) = @_;\n  $c->logger->info('noted');\n"
            f"  return {{ (map {{ $_ => $c->$_ }} qw({' '.join(_FACTS)})), remaining_ms => $c->remaining_ms,\n"
            "    trace => $c->trace } }\n1;\n"
        ),
        broken="sub handler { (\n",
        exits='sub handler { print "bye\\n"; exit 3 }\n1;\n',
        nan="sub handler { return { deep => 9**9**9 } }\n1;\n",
        forks=(
            "sub handler {\n  my $child = fork;\n  return 'copy' unless $child;\n"
            "  waitpid $child, 0;\n  return 'one' }\n1;\n"
        ),
        leans="use Snow;\nsub handler { return Snow::fall() }\n1;\n",
        package={"vendor/lib/perl5/Snow.pm": "package Snow;\nuse utf8;\nsub fall { '\u2603' }\n1;\n"},
    ),
    "r": Sources(
        echo='handler <- function(event, context) { cat("saw \u2603\\n"); list(got = event) }\n',
        fails='inner <- function() {\n  stop("no such thing") }\nhandler <- function(event, context) {\n  inner()\n}\n',
        flood='handler <- function(event, context) { for (i in 1:5000) cat(strrep("x", 99), "\\n", sep = ""); 1L }\n',
        hangs="handler <- function(event, context) repeat {}\n",
        stream=(
            'handler <- function(event, context) {\n  left <- list("a", "\u2603", list(n = 1L))\n'
            "  function() { if (length(left) == 0) return(NULL); piece <- left[[1]]; left <<- left[-1]; piece }\n}\n"
        ),
        grows="handler <- function(event, context) { held <- list(); repeat held <- c(held, list(numeric(1e6) + 1)) }\n",
        facts=(
            "handler <- function(e, c) {\n  c$logger$info('noted')\n"
            f"  c(c[c({', '.join(map(repr, _FACTS))})], list(remaining_ms = c$remaining_ms(), trace = c$trace))\n}}\n"
        ),
        broken="handler <- function(\n",
        exits='handler <- function(event, context) { cat("bye\\n"); quit(status = 3) }\n',
        nan="handler <- function(event, context) list(deep = mean)\n",
        leans='source("vendor/snow.R", encoding = "UTF-8")\nhandler <- function(event, context) fall()\n',
        package={"vendor/snow.R": 'fall <- function() "\u2603"\n'},
        memory_mb=256,
        exact_digits=15,
    ),
    "elixir": Sources(
        echo=_elixir('def handler(event, _) do\n    IO.puts("saw \u2603")\n    %{got: event}\n  end'),
        fails=(
            'defmodule Main do def inner, do:\n  raise KeyError, "no such thing"\n'
            "  def handler(_, _) do\n    [inner()]\n  end\nend\n"
        ),
        flood=_elixir(
            'def handler(_, _) do\n    for _ <- 1..5000, do: IO.puts(String.duplicate("x", 99))\n    1\n  end'
        ),
        hangs=_elixir("def handler(event, context), do: handler(event, context)"),
        stream=_elixir('def handler(_, _), do: Stream.map(["a", "\u2603", %{n: 1}], & &1)'),
        grows=_elixir(
            "def handler(_, _), do: grow([])\n  defp grow(held), do: grow([:binary.copy(<<1>>, 1_048_576) | held])"
        ),
        facts=_elixir(
            'def handler(_, c) do\n    c.logger.info.("noted")\n'
            f"    c |> Map.take([{', '.join(':' + name for name in _FACTS)}])\n"
            "    |> Map.merge(%{remaining_ms: c.remaining_ms.(), trace: c.trace})\n  end"
        ),
        broken="defmodule Main do\n",
        exits=_elixir('def handler(_, _) do\n    IO.puts("bye")\n    System.halt(3)\n  end'),
        nan=_elixir("def handler(_, _), do: %{deep: {1, 2}}"),
        leans=('Code.require_file("vendor/snow.ex", __DIR__)\n' + _elixir("def handler(_, _), do: Snow.fall()")),
        package={"vendor/snow.ex": 'defmodule Snow do\n  def fall, do: "\u2603"\nend\n'},
        meets=_elixir(
            "def handler(event, _) do\n"
            '    IO.puts("call #{event}")\n'
            '    spawn(fn -> Process.register(self(), :"here#{event}"); Process.sleep(:infinity) end)\n'
            "    wait()\n    event\n  end\n"
            "  defp wait do\n"
            '    here = Enum.count(Process.registered(), &String.starts_with?("#{&1}", "here"))\n'
            "    if here < 20, do: (Process.sleep(1); wait())\n  end"
        ),
        memory_mb=256,
    ),
    "julia": Sources(
        echo='handler(event, context) = (println("saw \u2603"); Dict("got" => event))\n',
        fails='inner() =\n    throw(DomainError(1, "no such thing"))\nhandler(event, context) = inner()\n',
        flood="handler(event, context) = (for _ in 1:5000; println('x'^99); end; 1)\n",
        hangs="handler(event, context) = while true end\n",
        stream=(
            "handler(event, context) = Channel() do out\n"
            '    foreach(piece -> put!(out, piece), ("a", "\u2603", Dict("n" => 1)))\nend\n'
        ),
        grows="handler(event, context) = (held = []; while true; push!(held, fill(0x01, 1 << 20)); end)\n",
        facts=(
            'function handler(e, c)\n    c.logger.info("noted")\n'
            f"    facts = Dict{{String,Any}}(string(name) => getfield(c, name) for name in Symbol.({list(_FACTS)!r}))\n"
            "    trace = Dict(string(name) => getfield(c.trace, name) for name in fieldnames(typeof(c.trace)))\n"
            '    merge(facts, Dict("remaining_ms" => c.remaining_ms(), "trace" => trace))\nend\n'
        ).replace("'", '"'),
        broken="function handler(\n",
        exits='handler(event, context) = (println("bye"); exit(3))\n',
        nan='handler(event, context) = Dict("deep" => NaN)\n',
        leans="using Snow\nhandler(event, context) = Snow.fall()\n",
        package={"vendor/Snow.jl": 'module Snow\nfall() = "\u2603"\nend\n'},
        memory_mb=512,
    ),
}
