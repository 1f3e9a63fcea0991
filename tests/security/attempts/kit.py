"""What every attempt is written with: the kernel's calls by number, and what a neighbour leaves lying about.

This file's text travels with each attempt into the sandbox and into the control run, so it needs nothing but the
standard library, and what it can do there it does without the language's own interface.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import socket
import struct
import subprocess
from contextlib import contextmanager, suppress

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

NUMBERS = {  # x86-64, then the table that newer architectures share; None where there is no such call
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "getpid": (39, 172),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "remap_file_pages": (216, 234),
    "request_key": (249, 218),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_COLUMN = 0 if platform.machine() == "x86_64" else 1

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWTIME = 0x00020000, 0x04000000, 0x10000000, 0x00000080
CLONE_NEWNET = 0x40000000
AT_FDCWD = -100
PAGE = mmap.PAGESIZE
SECRET = "the neighbour's own"
SHARED_KEY = 0x5EED


def checked(result: int, what: str) -> int:
    """Return a call's result, or raise what errno says."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def call(name: str, *arguments: object) -> int:
    """Make a system call: integers as they are, bytes and ctypes objects by address."""
    number = NUMBERS[name][_COLUMN]
    if number is None:
        raise OSError(errno.ENOSYS, "no such call on this architecture", name)
    words = [a if isinstance(a, bytes | ctypes.Array | ctypes._Pointer) else ctypes.c_long(a or 0) for a in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *words), name)


def words(*values: int) -> ctypes.Array:
    """Return 64-bit integers in memory."""
    return (ctypes.c_uint64 * len(values))(*values)


def address(memory: ctypes.Array) -> int:
    return ctypes.addressof(memory)


def denied(why: str, number: int = errno.ENOENT) -> OSError:
    """Return what an attempt raises that was not refused by a call but found nothing to take."""
    return OSError(number, why)


@contextmanager
def child(act=None):
    """A child process that runs `act`, or waits; killed at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            if act is not None:
                act()
            else:
                libc.pause()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@contextmanager
def started(*command: str):
    """A program that runs until the end of the block; gives its process id."""
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def status_of(pid: int, name: str) -> list[str]:
    """Return the values of one line of a process's status."""
    with open(f"/proc/{pid}/status") as file:
        return next(line.split()[1:] for line in file if line.startswith(name + ":"))


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> int:
    return call("mount", source.encode(), target.encode(), kind.encode(), flags, options.encode())


def raise_loopback(*addresses: str) -> None:
    """Switch on lo, with more addresses (as lo:1, lo:2, ...)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, each in enumerate(addresses, 1):
            request = struct.pack("16sHH4s8x", f"lo:{number}".encode(), socket.AF_INET, 0, socket.inet_aton(each))
            fcntl.ioctl(control, 0x8916, request)  # SIOCSIFADDR
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def arm(tmp: str) -> None:
    """Leave what a neighbour would be found by: files, sockets, memory and queues with known names."""
    for directory in (tmp, "/dev/shm"):
        with open(f"{directory}/constellation-secret", "w") as file:
            file.write(SECRET)
    named = socket.socket(socket.AF_UNIX)
    named.bind("\0constellation-neighbour")
    named.listen()
    tcp = socket.create_server(("127.0.0.1", 18080))
    kept.extend((named, tcp))
    with suppress(PermissionError):  # refused where no control group counts it
        checked(libc.shmget(SHARED_KEY, PAGE, 0o1666), "shmget")
    checked(libc.msgget(SHARED_KEY, 0o1666), "msgget")
    checked(libc.semget(SHARED_KEY, 1, 0o1666), "semget")
    call("mq_open", b"constellation", os.O_CREAT | os.O_RDWR, 0o666, 0)


kept: list[socket.socket] = []
