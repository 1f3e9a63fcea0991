"""Other processes, and more power than a function is given."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
import time

from tests.security.attempts.kit import call, checked, denied, libc, started, status_of
from tests.security.attempts.table import Family, World

processes = Family("processes")
REFUSED = ("EPERM", "EACCES")


@processes("ESRCH")
def signal_to_the_platform(at):
    return os.kill(at["host_pid"], 0)


@processes("ESRCH")
def signal_to_all(at):
    return os.kill(-1, 0)


@processes("ESRCH", "EINVAL")
def handle_of_the_platform(at):
    return os.pidfd_open(at["host_pid"])


@processes("ESRCH")
def signal_by_socket(at):
    """The kernel signals the owner of a socket: whoever that is made."""
    with socket.socket() as any_socket:
        return fcntl.fcntl(any_socket, fcntl.F_SETOWN, at["host_pid"])


@processes("ESRCH")
def limits_of_the_platform(at):
    return resource.prlimit(at["host_pid"], resource.RLIMIT_NOFILE)


@processes("ESRCH")
def scheduling_of_the_platform(at):
    return os.sched_getaffinity(at["host_pid"])


@processes("EPERM", "EINVAL", world=World.ROOT)
def another_user(at):
    other = 0 if os.getuid() else 4321
    return os.setresuid(other, other, other)


@processes("EPERM", "EINVAL", world=World.ROOT)
def another_group(at):
    other = 0 if os.getgid() else 4321
    return os.setresgid(other, other, other)


@processes("EPERM", "EINVAL", world=World.ROOT)
def more_groups(at):
    return os.setgroups([0, 6])


@processes("EPERM", world=World.OWN)
def capabilities(at):
    head = struct.pack("Ii", 0x20080522, 0)
    now = ctypes.create_string_buffer(24)
    call("capget", head, now)
    effective, permitted, inheritable, *rest = struct.unpack("6I", now.raw)
    admin = 1 << 21
    return call("capset", head, struct.pack("6I", effective | admin, permitted | admin, inheritable | admin, *rest))


@processes("EPERM", world=World.OWN)
def secure_bits(at):
    return checked(libc.prctl(28, 0, 0, 0, 0), "securebits")


@processes("EPERM")
def outlive_the_platform(at):
    return checked(libc.prctl(1, 0, 0, 0, 0), "pdeathsig")


@processes("EPERM", world=World.ROOT)
def layout_of_memory(at):
    with open("/proc/self/stat") as file:
        stack = int(file.read().rsplit(")", 1)[1].split()[25])
    return checked(libc.prctl(35, 5, ctypes.c_ulong(stack), 0, 0), "PR_SET_MM_START_STACK")


@processes("EPERM", world=World.ROOT)
def reclaim_without_limit(at):
    return checked(libc.prctl(57, 1, 0, 0, 0), "PR_SET_IO_FLUSHER")


@processes(*REFUSED, world=World.ROOT)
def open_file_limit(at):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        return resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))
    except ValueError as error:
        raise denied(str(error), errno.EPERM) from error


@processes(*REFUSED, world=World.ROOT)
def niceness(at):
    return os.setpriority(os.PRIO_PROCESS, 0, -5)


@processes(*REFUSED, world=World.ROOT)
def real_time(at):
    return os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@processes(*REFUSED, world=World.ROOT)
def deadline_scheduling(at):
    return call("sched_setattr", 0, struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 1000000, 10000000, 10000000), 0)


@processes(*REFUSED, world=World.ROOT)
def disk_priority(at):
    return call("ioprio_set", 1, 0, 1 << 13)


def ordinary_user(at):
    os.chdir(at["code"])  # the way to it is root's alone
    os.setgroups([])
    os.setresgid(4321, 4321, 4321)
    os.setresuid(4321, 4321, 4321)
    return {"code": "."}


@processes("EPERM", world=World.ROOT, ground="root", scene=ordinary_user)
def program_that_becomes_root(at):
    """A program of root's with the set-user-id bit, among the function's code."""
    with started(at["code"] + "/becomes-root", "30") as pid:
        for _ in range(50):  # credentials change a moment after the program is there
            real, effective, *_rest = status_of(pid, "Uid")
            if effective != real:
                return effective
            time.sleep(0.01)
    raise denied("it ran as its caller", errno.EPERM)


@processes("EPERM", world=World.ROOT, ground="root", scene=ordinary_user)
def program_with_capabilities(at):
    """A program with a capability in its file's attributes."""
    with started(at["code"] + "/has-power", "30") as pid:
        for _ in range(50):
            powers = status_of(pid, "CapEff")
            if int(powers[0], 16):
                return powers
            time.sleep(0.01)
    raise denied("it ran without", errno.EPERM)


def own_users(at):
    call("unshare", 0x10000000)


@processes("EROFS", "EACCES", "EPERM", scene=own_users)
def user_map(at):
    with open("/proc/self/uid_map", "w") as file:
        return file.write(f"0 {at['host_uid']} 1")


@processes("KeyError")
def secret_in_the_environment(at):
    return os.environ["CONSTELLATION_ESCAPE_SECRET"]
