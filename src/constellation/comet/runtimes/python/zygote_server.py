"""The fork server of the python runtime: imports the worker and what functions import most, then forks sandboxes.

Started by `zygote_main`, and without packages as that is. It holds privilege, so nothing but the standard library and
the platform's own files beside this one is ever imported here, and it stays single-threaded.
"""

from __future__ import annotations

import _random
import functools
import gc
import importlib
import os
import sys

# Chosen: what handlers import most often; each costs its memory once, in this process, and no import in a cold start.
PRELOADED = (
    "base64", "collections", "concurrent.futures", "copy", "csv", "dataclasses", "datetime", "decimal", "enum",
    "functools", "hashlib", "hmac", "html", "http.client", "itertools", "math", "pathlib", "pickle", "random", "re",
    "secrets", "shutil", "signal", "sqlite3", "ssl", "statistics", "string", "subprocess", "tempfile", "typing",
    "urllib.parse", "urllib.request", "uuid", "zlib", "zoneinfo",
)  # fmt: skip


class _Hooks:
    """Keeps at-fork hooks of the standard library out of the forks of this server; those of user code have them.

    They make locks anew, and here nobody holds a lock: there is one thread, and it stands in `ct_fork.serve`. That of
    `threading` alone would write to a quarter of the pages that an instance ever copies. `random` is the exception,
    and seeded by `main`.
    """

    def __init__(self):
        self.is_open = False
        self._register = os.register_at_fork
        self._before, self._in_child, self._in_parent = [], [], []
        self._register(before=self._run_before, after_in_child=self._run_in_child, after_in_parent=self._run_in_parent)

    def __enter__(self):
        os.register_at_fork = self.keep

    def __exit__(self, *_):
        os.register_at_fork = self._register

    def keep(self, *, before=None, after_in_child=None, after_in_parent=None):
        for kept, hook in (
            (self._before, before),
            (self._in_child, after_in_child),
            (self._in_parent, after_in_parent),
        ):
            if hook is not None:
                kept.append(hook)

    def warm_up(self):
        for _ in range(32):  # chosen: as in worker.warm_up
            self._run_in_child()

    def _run_before(self):
        if self.is_open:
            for hook in reversed(self._before):
                hook()

    def _run_in_child(self):
        if self.is_open:
            for hook in self._in_child:
                hook()

    def _run_in_parent(self):
        if self.is_open:
            for hook in self._in_parent:
                hook()


def _fill_pools():
    """Use up the free blocks of every pool, for good: what a child allocates then lies together in pools of its own.

    The numbers are in the table that the interpreter prints: class, size, pools, blocks in use, free blocks.
    """
    table, stderr = os.memfd_create("table"), os.dup(2)
    os.dup2(table, 2)
    try:
        sys._debugmallocstats()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    rows = [line.split() for line in os.pread(table, 1 << 20, 0).decode().splitlines()]
    os.close(table)
    overhead = sys.getsizeof(b"")
    for row in rows:
        if len(row) == 5 and all(map(str.isdigit, row)) and int(row[1]) > overhead:
            _plugs.append([bytes(int(row[1]) - overhead) for _ in range(int(row[4]))])


_plugs = []


def main(ct_fork, control_fd):
    """Serve until the control socket is closed; ends in each child, when its worker does."""
    hooks = _Hooks()
    with hooks:
        import concurrent.futures.thread
        import logging
        import random
        import threading
    here = sys.path[0]  # as `zygote_main` has left it
    import worker

    sys.path.remove(here)
    for name in (__name__, *worker.OWN_MODULES):
        del sys.modules[name]  # a function may have a module of that name
    for place in (here, sys.argv[0]):
        sys.path_importer_cache.pop(place, None)
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # an interpreter built without it: the function's own import says so
    for name in ("MALLOC_ARENA_MAX", "LD_BIND_NOW"):  # were read at the start; what is left is what the children get
        os.environ.pop(name, None)
    hooks.warm_up()
    worker.warm_up(hooks.keep, ct_fork.Channel)
    sys.argv = []
    gc.collect()
    _fill_pools()
    gc.freeze()  # collections in the children would write to every page that they share with us
    gc.disable()
    threading.main_thread()._native_id = 1  # a child's, which is the first process of its namespace
    reseed = functools.partial(_random.Random.seed, random._inst)  # from the kernel; its state is all that it has here
    channel_fd = ct_fork.serve(control_fd)
    reseed()
    hooks.is_open = True
    worker.main(channel_fd, ct_fork)
