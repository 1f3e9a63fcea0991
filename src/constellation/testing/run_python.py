"""Runs one call of a Python function in a process of its own, without any isolation: for trusted test code only."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace


def main(code_dir: str, handler: str, result_path: str) -> None:
    """Call `handler` with the JSON on standard input; write {"output"} or {"error"} and the pieces of a stream."""
    sys.path.insert(0, code_dir)
    module, _, name = handler.rpartition(".")
    logger = logging.getLogger("function")
    context = SimpleNamespace(request_id="test", function_name=name, logger=logger, remaining_ms=lambda: 60_000)
    try:
        value = getattr(importlib.import_module(module), name)(json.load(sys.stdin), context)
        result: dict[str, object] = {"output": list(value) if inspect.isgenerator(value) else value}
    except BaseException as error:  # noqa: BLE001 - whatever the function raises is its answer
        stack = "".join(traceback.format_exception(error))
        result = {"error": {"type": type(error).__name__, "message": str(error), "stack": stack}}
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
