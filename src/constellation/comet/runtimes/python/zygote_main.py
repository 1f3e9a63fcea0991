"""The fork server of the python runtime: imports the worker and what functions import most, then forks sandboxes.

Started by exec as `python -I -S zygote_main.py CT_FORK_PATH CONTROL_FD`. It holds privilege, so nothing but the
standard library is ever imported here, and it stays single-threaded.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import os
import sys

# Chosen: what handlers import most often; each costs its memory once, in this process, and no import in a cold start.
PRELOADED = (
    "base64", "collections", "concurrent.futures", "copy", "csv", "dataclasses", "datetime", "decimal", "enum",
    "functools", "hashlib", "hmac", "html", "http.client", "itertools", "math", "pathlib", "pickle", "random", "re",
    "secrets", "shutil", "signal", "sqlite3", "ssl", "statistics", "string", "subprocess", "tempfile", "typing",
    "urllib.parse", "urllib.request", "uuid", "zlib", "zoneinfo",
)  # fmt: skip


def _load_fork(path):
    loader = importlib.machinery.ExtensionFileLoader("ct_fork", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("ct_fork", loader))
    loader.exec_module(module)
    return module


def main():
    fork_path, control_fd = sys.argv[1], int(sys.argv[2])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import worker

    sys.path.remove(here)
    for name in ("worker", "worker_orphans", "worker_values", "worker_wire"):
        del sys.modules[name]  # a function may have a module of that name
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # an interpreter built without it: the function's own import says so
    os.environ.pop("MALLOC_ARENA_MAX", None)  # the allocator has read it; what is left is what the children get
    ct_fork = _load_fork(fork_path)
    worker.warm_up()
    gc.collect()
    gc.freeze()  # collections in the children would write to every page that they share with us
    gc.disable()
    worker.main(ct_fork.serve(control_fd))


main()
