"""A nursery: a sandbox that has imported a function's packages and forks its instances.

From the first import on, this process is the tenant's: what it says to the host is one fixed word at a time, which the
host believes only as far as it concerns this function. The first process of the sandbox stays behind to reap; the one
that imports has another pid than its children (1, in a namespace of their own), by which OpenSSL and others know that
they were forked.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import socket
import struct
import sys

from worker_wire import places

# kind, ticket, code, signal, text: 256 bytes
WORD = struct.Struct("!B3xIii240s")
READY, BRANCHED, EXITED = 1, 2, 3
_TICKET = struct.Struct("!I")
_OWN_FDS = 4  # channel, stdio, page and bell
_FDS = _OWN_FDS + 8  # and the control groups

# A library that starts threads when it is imported could not be forked after.
_ONE_THREAD = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS", "RAYON_NUM_THREADS", "GOTO_NUM_THREADS",
)  # fmt: skip


def serve(channel, body, ct_fork):
    """Import the modules, then fork until the host is gone; returns in each child, which is on its own channel."""
    _leave_the_first_process()
    host = socket.socket(fileno=channel.fileno())  # what is said there is not frames
    failed = _preload(json.loads(body)) or _threads()
    if not failed:
        gc.collect()
        ct_fork.prepare()
        gc.freeze()  # as in the fork server: collections would write to every page that is shared
        gc.disable()
    _say(host, READY, 0, -1 if failed else 0, 0, failed)
    if failed:
        os._exit(1)
    if _fork_until_child(host, ct_fork):
        host.detach()  # its number is the child's channel by now
        _renew_seeds()


def _leave_the_first_process():
    pid = os.fork()
    if pid:
        while True:
            ended, status = os.wait()
            if ended == pid:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _preload(order):
    """Import what is to be preloaded; return why that failed, or ""."""
    sys.dont_write_bytecode = True
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    from_here = places(order["code_dir"], order["has_layers"])
    sys.path[:0] = from_here
    try:
        for name in order["modules"]:
            importlib.import_module(name)
    except BaseException as error:  # whatever it is, the host hears of it and starts instances the ordinary way
        return f"{name}: {type(error).__name__}: {error}"
    finally:
        for place in from_here:
            if place in sys.path:
                sys.path.remove(place)
        for name in _ONE_THREAD:
            os.environ.pop(name, None)
    return ""


def _threads():
    count = len(os.listdir("/proc/self/task"))
    return f"{count - 1} threads were started by an import" if count != 1 else ""


def _fork_until_child(host, ct_fork):
    """Serve requests, each `ticket` with the descriptors [channel, stdio, page, bell, control groups]. True in a child."""
    living, waiting = {}, select.poll()  # pidfd -> (ticket, pid)
    waiting.register(host, select.POLLIN)
    while True:
        for fd, _ in waiting.poll():
            if fd != host.fileno():
                _bury(host, waiting, fd, *living.pop(fd))
                continue
            request, fds, _, _ = socket.recv_fds(host, _TICKET.size, _FDS)
            if len(request) != _TICKET.size or len(fds) < _OWN_FDS:
                os._exit(0)  # the host is gone
            (ticket,) = _TICKET.unpack(request)
            try:
                pid, pidfd = ct_fork.branch(*fds[:_OWN_FDS], fds[_OWN_FDS:])
            except OSError as error:
                _say(host, BRANCHED, ticket, -1, 0, str(error))
            else:
                if pid == 0:
                    return True
                living[pidfd] = (ticket, pid)
                waiting.register(pidfd, select.POLLIN)
                _say(host, BRANCHED, ticket, 0, 0, "", pidfd)
            for each in fds:
                os.close(each)


def _bury(host, waiting, pidfd, ticket, pid):
    waiting.unregister(pidfd)
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _say(host, EXITED, ticket, max(code, 0), max(-code, 0), "")


def _say(host, kind, ticket, code, number, text, *fds):
    word = WORD.pack(kind, ticket, code, number, text.encode("utf-8", "replace")[:240])
    try:
        socket.send_fds(host, [word], list(fds))
    except OSError:
        os._exit(0)


def _renew_seeds():
    """What numpy drew its state from was drawn before the fork. `random` and OpenSSL see to themselves."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
