"""What the contract's functions do, by language: a promise holds in each that can keep or break it."""

from __future__ import annotations

from collections.abc import Mapping

from constellation.testing.wasm import command, module

Program = Mapping[str, str]  # runtime -> source

_ANSWER = "(local.set $n (call $read)) (call $write (i32.const 1) (global.get $event) (local.get $n))"
_SECONDS = """
  (func $seconds (result i64) (local $at i32) (local $end i32) (local $value i64) (local $unit i64) (local $byte i32)
    (local.set $at (global.get $event))
    (local.set $end (i32.add (global.get $event) (call $read)))
    (local.set $unit (i64.const 1000000000))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $byte (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (if (i32.eq (local.get $byte) (i32.const 46))
        (then (local.set $unit (i64.const 100000000)))
        (else (local.set $value (i64.add
          (i64.mul (local.get $value) (select (i64.const 10) (i64.const 1) (i64.eq (local.get $unit) (i64.const 1000000000))))
          (i64.mul (local.get $unit) (i64.extend_i32_u (i32.sub (local.get $byte) (i32.const 48))))))))
      (br $next)))
    (local.get $value))"""

ECHO: Program = {
    "python": "def handler(event, context):\n    print('saw', event)\n    return {'got': event}\n",
    "node": "exports.handler = async (event) => { console.log('saw', event); return { got: event } };",
    "wasm": command(
        "(call $write (i32.const 2) (i32.const 256) (i32.const 4))",
        "(call $write (i32.const 1) (i32.const 272) (i32.const 7))",
        _ANSWER,
        "(call $write (i32.const 1) (i32.const 288) (i32.const 1))",
        parts='(data (i32.const 256) "saw ") (data (i32.const 272) "{\\"got\\":") (data (i32.const 288) "}")',
    ),
}
IDLE: Program = {"python": "def handler(event, context):\n    return event\n", "wasm": command(_ANSWER)}
FLOOD: Program = {
    "python": "def handler(event, context):\n    for _ in range(5000): print('x' * 99)\n    return 1\n",
    "wasm": command(
        "(memory.fill (i32.const 256) (i32.const 120) (i32.const 99)) (i32.store8 (i32.const 355) (i32.const 10))",
        "(i32.store8 (i32.const 400) (i32.const 49)) (local.set $n (i32.const 5000))",
        "(loop $more (call $write (i32.const 2) (i32.const 256) (i32.const 100))",
        "(br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))",
        "(call $write (i32.const 1) (i32.const 400) (i32.const 1))",
    ),
}
SLEEPER: Program = {
    "sync": "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event\n",
    "async": "import asyncio\nasync def handler(event, context):\n    await asyncio.sleep(event)\n    return event\n",
    "wasm": command("(call $sleep (call $seconds))", _ANSWER.replace("(call $read)", "(call $length)"), parts=_SECONDS
        + "(func $length (result i32) (local $n i32) (block $end (loop $next"
        " (br_if $end (i32.eqz (i32.load8_u (i32.add (global.get $event) (local.get $n)))))"
        " (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $next))) (local.get $n))"),
}  # fmt: skip
SLEEPS: Program = {
    "python": "import time\ndef handler(event, context):\n    time.sleep(60)\n",
    "wasm": command("(call $sleep (i64.const 60000000000))"),
}
SPINS: Program = {"wasm": command("(loop $for_ever (br $for_ever))")}
_PIECES = "".join(f'(data (i32.const {256 + 16 * i}) "{{\\"i\\":{i}}}")' for i in range(3))
PIECES: Program = {
    "python": "def handler(event, context):\n    print('go')\n    for i in range(event): yield {'i': i}\n",
    "wasm": command(
        "(call $write (i32.const 2) (i32.const 400) (i32.const 3))",
        *(f"(call $write (i32.const 1) (i32.const {256 + 16 * i}) (i32.const 7)) (call $sleep (i64.const 1))" for i in range(3)),
        parts=_PIECES + '(data (i32.const 400) "go\\n")',
    ),
}  # fmt: skip
ENDLESS: Program = {
    "python": (
        "import time\ndef handler(event, context):\n    if event:\n        return event\n"
        "    def pieces():\n        while True: yield 'x' * 65536\n"
        "    return pieces()\n"
    ),
    "wasm": command(
        "(local.set $n (call $read))",
        "(if (i32.eq (i32.load8_u (global.get $event)) (i32.const 110)) (then (loop $more",
        "(call $write (i32.const 1) (global.get $event) (i32.const 65536)) (br $more))))",
        "(call $write (i32.const 1) (global.get $event) (local.get $n))",
    ),
}
STALLS: Program = {
    "python": "import time\ndef handler(event, context):\n    yield 'a'\n    time.sleep(60)\n",
    "wasm": command(
        "(call $write (i32.const 1) (i32.const 256) (i32.const 1)) (call $sleep (i64.const 60000000000))",
        parts='(data (i32.const 256) "a")',
    ),
}
BROKEN: Program = {
    "python": "def handler(:\n",
    "wasm": module('(import "env" "absent" (func)) (func (export "_start"))').replace(
        '(import "env" "absent" (func))', ""
    ).replace("(module", '(module (import "env" "absent" (func))', 1),
}  # fmt: skip
BROKEN_TYPE = {"python": "SyntaxError", "wasm": "LoadError"}
