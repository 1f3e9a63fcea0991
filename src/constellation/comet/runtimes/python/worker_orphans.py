"""Processes whose parent ended become children of the worker, pid 1 of its sandbox: somebody must wait for them.

Nothing tells an orphan from a child that the handler forked and means to wait for. So only what has been a zombie for
a while and is no `subprocess.Popen` in use is taken: a handler waits for its own children sooner, or never.
"""

from __future__ import annotations

import gc
import os
import subprocess
import time

LOOK_S = 5.0  # chosen: between looks; one system call while nothing has ended
AGE_S = 30.0  # chosen: far longer than a handler leaves a child of its own unwaited for


class Orphans:
    """Zombies seen so far. `reap` is called between calls."""

    def __init__(self, look_s=LOOK_S, age_s=AGE_S):
        self._look_s, self._age_s = look_s, age_s
        self._next_s, self._seen = None, {}

    def reap(self):
        now = time.monotonic()
        if self._next_s is None:  # made before the fork, perhaps long ago
            self._next_s = now + self._look_s
        if now < self._next_s:
            return
        self._next_s = now + self._look_s
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            ended = None
        if ended is None:
            self._seen.clear()
            return
        self._seen = {pid: self._seen.get(pid, now) for pid in _zombies()}
        old = [pid for pid, since in self._seen.items() if now - since >= self._age_s]
        if old:
            kept = {o.pid for o in gc.get_objects() if isinstance(o, subprocess.Popen) and o.returncode is None}
            for pid in old:
                if pid not in kept:
                    _wait(pid)


def _wait(pid):
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # its own waiter came first


def _zombies():
    """Return our children that have ended and nobody has waited for."""
    found, me = [], str(os.getpid())
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state == "Z" and parent == me:
                found.append(int(name))
    return found
