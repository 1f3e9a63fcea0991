"""System calls that a sandbox must not make, tried one by one from inside."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from constellation.native.zygote import ExitStatus

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sandbox,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="call numbers of x86-64"),
]

CALL = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
args = [eval(a) for a in sys.argv[1:]]
result = libc.syscall(*[a if isinstance(a, bytes) else ctypes.c_long(a) for a in args])
print(result, ctypes.get_errno())
"""

REFUSED = {
    "ptrace": "101, 0, 0, 0, 0",
    "process_vm_readv": "310, 1, 0, 0, 0, 0, 0",
    "mount": "165, b'none', b'/tmp', b'tmpfs', 0, 0",
    "umount2": "166, b'/tmp', 2",
    "pivot_root": "155, b'.', b'.'",
    "chroot": "161, b'/tmp'",
    "open_tree": "428, -100, b'/', 1",
    "fsopen": "430, b'tmpfs', 0",
    "mount_setattr": "442, -100, b'/', 0, 0, 0",
    "bpf": "321, 0, 0, 0",
    "userfaultfd": "323, 0",
    "io_uring_setup": "425, 8, 0",
    "add_key": "248, b'user', b'x', b'y', 1, -2",
    "request_key": "249, b'user', b'x', 0, -2",
    "keyctl": "250, 0, -2, 0",
    "perf_event_open": "298, 0, 0, -1, -1, 0",
    "unshare(user)": "272, 0x10000000",
    "unshare(net)": "272, 0x40000000",
    "setns": "308, 0, 0",
    "open_by_handle_at": "304, 0, 0, 0",
    "name_to_handle_at": "303, -100, b'/', 0, 0, 0",
    "quotactl": "179, 0, 0, 0, 0",
    "fanotify_init": "300, 0, 0",
    "syslog": "103, 3, 0, 0",
    "settimeofday": "164, 0, 0",
    "sethostname": "170, b'x', 1",
    "kcmp": "312, 1, 1, 0, 0, 0",
    "pidfd_getfd": "438, 0, 0, 0",
    "clone(newuser)": "56, 0x10000000 | 17, 0, 0, 0, 0",
    "clone(newns)": "56, 0x00020000 | 17, 0, 0, 0, 0",
    "clone(newnet, high bits)": "56, (1 << 40) | 0x40000000 | 17, 0, 0, 0, 0",
    "ioctl(TIOCSTI)": "16, 0, 0x5412, b'x'",
    "ioctl(TIOCSTI, high bits)": "16, 0, (1 << 32) | 0x5412, b'x'",
    "ioctl(TIOCLINUX)": "16, 0, 0x541C, b'x'",
    "prctl(no parent death signal)": "157, 1, 0, 0, 0, 0",
}
ABSENT = {
    "clone3": "435, 0, 0",  # libc then falls back to clone, whose flags can be read
    "socket(AF_NETLINK)": "41, 16, 3, 0",
    "socket(AF_PACKET)": "41, 17, 3, 0",
    "socket(AF_VSOCK)": "41, 40, 1, 0",
    "socket(AF_ALG)": "41, 38, 5, 0",
    "socket(AF_PACKET, high bits)": "41, (1 << 32) | 17, 3, 0",
    "personality(READ_IMPLIES_EXEC)": "135, 0x0400000",
    "a call newer than the list": "999, 0",
}
FATAL = {
    "kexec_load": "246, 0, 0, 0, 0",
    "init_module": "175, 0, 0, b''",
    "finit_module": "313, -1, b'', 0",
    "delete_module": "176, b'x', 0",
    "reboot": "169, 0, 0, 0, 0",
    "swapon": "167, b'/x', 0",
    "acct": "163, 0",
    "iopl": "172, 3",
    "an x32 call": "0x40000000 + 39",
}
ALLOWED = {
    "getpid": "39",
    "personality(query)": "135, 0xFFFFFFFF",
    "prctl(own parent death signal)": "157, 1, 9, 0, 0, 0",
    "memfd_create": "319, b'x', 0",
    "shmget": "29, 0, 4096, 0o1600",
    "ioctl(FIONREAD)": "16, 1, 0x5401, b'x' * 64",
}


async def call(rig, zygote, text, **changes):
    return await rig.python(zygote, CALL, *[part.strip() for part in text.split(",")], **changes)


async def test_refused_calls_say_so(rig):
    async with rig.executing() as zygote:
        for name, text in REFUSED.items():
            done = await call(rig, zygote, text)
            assert done.out.split() == ["-1", str(errno.EPERM)], name


async def test_unlisted_calls_do_not_exist(rig):
    async with rig.executing() as zygote:
        for name, text in ABSENT.items():
            done = await call(rig, zygote, text)
            assert done.out.split() == ["-1", str(errno.ENOSYS)], name


async def test_calls_against_the_kernel_itself_are_fatal(rig):
    async with rig.executing() as zygote:
        for name, text in FATAL.items():
            done = await call(rig, zygote, text)
            assert done.status == ExitStatus(code=0, signal=signal.SIGSYS), name


async def test_ordinary_calls_work(rig):
    async with rig.executing() as zygote:
        for name, text in ALLOWED.items():
            done = await call(rig, zygote, text)
            result, number = (int(x) for x in done.out.split())
            assert result >= 0 or number == errno.ENOTTY, name


async def test_shared_memory_can_be_refused(rig):
    async with rig.executing() as zygote:
        for name in ("memfd_create", "shmget"):
            done = await call(rig, zygote, ALLOWED[name], may_share_memory=False)
            assert done.out.split() == ["-1", str(errno.EPERM)], name


async def test_threads_forks_and_sockets_work(rig):
    script = (
        "import threading, os, socket, multiprocessing, signal\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(4)\n"
        "print('fork', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "a, b = socket.socketpair(); a.send(b'x'); print('pair', b.recv(1))\n"
        "u = socket.socket(socket.AF_UNIX); u.bind('/tmp/u'); print('unix')\n"
        "socket.create_server(('::1', 0), family=socket.AF_INET6); print('inet6')\n"
    )
    async with rig.executing() as zygote:
        done = await rig.python(zygote, script)
    assert done.out.splitlines() == ["thread", "fork 4", "pair b'x'", "unix", "inet6"]
