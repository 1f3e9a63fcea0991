"""Interfaces of the kernel that only an administrator, a debugger or an attacker needs."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pty
import struct

from tests.security.attempts.kit import (
    AT_FDCWD,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    PAGE,
    address,
    call,
    checked,
    child,
    libc,
    mount,
    words,
)
from tests.security.attempts.table import Family, World

kernel = Family("kernel")
_X86 = {"machine": "x86_64"}
SIGSYS = "signal 31"


@kernel("EPERM")
def ptrace(at):
    with child() as pid:
        return call("ptrace", 0x4206, pid, 0, 0)  # PTRACE_SEIZE


@kernel("EPERM")
def process_vm_readv(at):
    here = ctypes.create_string_buffer(b"memory", 6)
    there = ctypes.create_string_buffer(6)
    into, out_of = words(address(there), 6), words(address(here), 6)
    return call("process_vm_readv", os.getpid(), into, 1, out_of, 1, 0)


@kernel("EPERM")
def kcmp(at):
    return call("kcmp", os.getpid(), os.getpid(), 1, 0, 0)


@kernel("EPERM")
def pidfd_getfd(at):
    return call("pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)


@kernel("EPERM", world=World.OWN)
def mount_tmpfs(at):
    return mount("tmpfs", at["scratch"], "tmpfs")


@kernel("EPERM", world=World.OWN)
def umount(at):
    return call("umount2", b"/proc", 2)


def new_root(at):
    os.mkdir(at["scratch"] + "/root")
    mount("tmpfs", at["scratch"] + "/root", "tmpfs")
    os.chdir(at["scratch"] + "/root")


@kernel("EPERM", world=World.OWN, scene=new_root)
def pivot_root(at):
    return call("pivot_root", b".", b".")


@kernel("EPERM", world=World.OWN)
def chroot(at):
    return call("chroot", at["scratch"].encode())


@kernel("EPERM", world=World.OWN)
def fsopen(at):
    return call("fsopen", b"tmpfs", 0)


@kernel("EPERM", world=World.OWN)
def open_tree(at):
    return call("open_tree", AT_FDCWD, at["scratch"].encode(), 1)


@kernel("EPERM", world=World.OWN)
def mount_setattr(at):
    changes = words(0, 0x8, 0, 0)  # clears MOUNT_ATTR_NOEXEC
    return call("mount_setattr", AT_FDCWD, at["scratch"].encode(), 0, changes, 32)


@kernel("EPERM", world=World.ROOT)
def bpf_map(at):
    array = struct.pack("IIII", 2, 4, 4, 1) + bytes(104)
    return call("bpf", 0, array, len(array))


@kernel("EPERM")
def userfaultfd(at):
    return call("userfaultfd", 1)  # UFFD_USER_MODE_ONLY: what the kernel gives to everybody


@kernel("EPERM")
def io_uring(at):
    return call("io_uring_setup", 4, ctypes.create_string_buffer(120))


@kernel("EPERM")
def keyctl(at):
    return call("keyctl", 0, -2, 1)  # the process keyring's id


@kernel("EPERM")
def add_key(at):
    return call("add_key", b"user", b"constellation", b"x", 1, -2)


def a_key(at):
    call("keyctl", 1, 0)  # a session keyring of our own
    call("add_key", b"user", b"constellation", b"x", 1, -3)


@kernel("EPERM", scene=a_key)
def request_key(at):
    return call("request_key", b"user", b"constellation", 0, 0)


@kernel("EPERM")
def perf_event(at):
    counter = struct.pack("IIQQQQQ", 1, 64, 0, 0, 0, 0, 0x60) + bytes(16)  # task clock, user mode only
    return call("perf_event_open", counter, 0, -1, -1, 0)


@kernel("EPERM")
def unshare_user(at):
    return call("unshare", CLONE_NEWUSER)


@kernel("EPERM", world=World.OWN)
def setns(at):
    return call("setns", os.open("/proc/self/ns/uts", os.O_RDONLY), CLONE_NEWUTS)


@kernel("EPERM")
def clone_into_user_namespace(at):
    pid = call("clone", CLONE_NEWUSER | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


@kernel("ENOSYS", "EPERM")
def clone3_into_user_namespace(at):
    pid = call("clone3", words(CLONE_NEWUSER, 0, 0, 0, 17, 0, 0, 0), 64)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


@kernel("EPERM")
def name_to_handle(at):
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    return call("name_to_handle_at", AT_FDCWD, b"/", handle, words(0), 0)


def root_handle(at):
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    call("name_to_handle_at", AT_FDCWD, b"/", handle, words(0), 0)
    return {"handle": handle.raw.hex()}


@kernel("EPERM", world=World.ROOT, scene=root_handle)
def open_by_handle(at):
    handle = bytes.fromhex(at["handle"])  # by default inode 2 of an ext4: the root of most hosts
    return call("open_by_handle_at", os.open("/", os.O_RDONLY), handle, os.O_RDONLY)


@kernel("EPERM", "ENOSYS")
def quotactl(at):
    return call("quotactl", 0x80000100, 0, 0, 0)  # Q_SYNC of every file system


@kernel(SIGSYS, never="it would change the host's swap")
def swapon(at):
    return call("swapon", (at["scratch"] + "/swap").encode(), 0)


@kernel(SIGSYS, never="it would change the host's swap")
def swapoff(at):
    return call("swapoff", b"/swap")


@kernel(SIGSYS, world=World.OWN, control="signal 1")
def reboot(at):
    return call("reboot", 0xFEE1DEAD, 672274793, 0x01234567, 0)  # the kernel ends a pid namespace by SIGHUP


@kernel(SIGSYS, never="it would replace the host's kernel")
def kexec(at):
    return call("kexec_load", 0, 0, 0, 0)


@kernel(SIGSYS, never="it would change the host's kernel")
def load_module(at):
    return call("finit_module", -1, b"", 0)


@kernel(SIGSYS, never="it would change the host's kernel")
def unload_module(at):
    return call("delete_module", b"loop", 0)


@kernel(SIGSYS, "ENOSYS", world=World.ROOT)
def iopl(at):
    return call("iopl", 3)


@kernel(SIGSYS, "ENOSYS", world=World.ROOT)
def ioperm(at):
    return call("ioperm", 0x80, 1, 1)


@kernel("EPERM", world=World.ROOT)
def settimeofday(at):
    zone = ctypes.create_string_buffer(8)
    checked(libc.gettimeofday(ctypes.create_string_buffer(16), zone), "gettimeofday")
    return call("settimeofday", 0, zone)  # the zone that is set already


@kernel("EPERM", world=World.ROOT)
def adjtimex(at):
    state = ctypes.create_string_buffer(256)
    call("adjtimex", state)
    struct.pack_into("I", state, 0, 0x4000)  # ADJ_TICK: the length that it has already
    return call("adjtimex", state)


@kernel("EPERM", world=World.OWN)
def sethostname(at):
    return call("sethostname", b"taken", 5)


@kernel("EPERM", world=World.OWN)
def setdomainname(at):
    return call("setdomainname", b"taken", 5)


@kernel(SIGSYS, world=World.ROOT)
def accounting(at):
    file = at["scratch"] + "/acct"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    call("acct", file.encode())
    return call("acct", 0)


@kernel("ENOSYS", "EPERM")
def personality(at):
    return call("personality", 0x0040000)  # ADDR_NO_RANDOMIZE


@kernel("EPERM", world=World.ROOT)
def syslog(at):
    return call("syslog", 3, ctypes.create_string_buffer(4096), 4096)


def no_terminal(at):
    os.setsid()


@kernel("EPERM", world=World.ROOT, scene=no_terminal)
def vhangup(at):
    return call("vhangup")


@kernel("EPERM", world=World.ROOT)
def fanotify(at):
    return call("fanotify_init", 0x4, os.O_RDONLY)  # FAN_CLASS_CONTENT: may refuse others' opens


@kernel("EPERM")
def move_pages(at):
    page = mmap.mmap(-1, PAGE)
    page[0] = 1
    where = words(address(ctypes.c_char.from_buffer(page)))
    return call("move_pages", 0, 1, where, 0, ctypes.create_string_buffer(4), 0)


@kernel("EPERM")
def migrate_pages(at):
    return call("migrate_pages", 0, 64, words(1), words(1))


@kernel("EPERM")
def mbind(at):
    page = mmap.mmap(-1, PAGE)
    return call("mbind", address(ctypes.c_char.from_buffer(page)), PAGE, 0, 0, 0, 0)


@kernel("EPERM")
def memfd_secret(at):
    return call("memfd_secret", 0)


@kernel("EPERM", **_X86)
def modify_ldt(at):
    return call("modify_ldt", 0, ctypes.create_string_buffer(64), 64)


@kernel("EPERM")
def remap_file_pages(at):
    shared = mmap.mmap(-1, 2 * PAGE)
    return call("remap_file_pages", address(ctypes.c_char.from_buffer(shared)), PAGE, 0, 1, 0)


@kernel(SIGSYS, **_X86)
def i386_abi(at):
    code = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid of i386); int 0x80; ret
    pid = ctypes.CFUNCTYPE(ctypes.c_int)(address(ctypes.c_char.from_buffer(code)))()
    return checked(min(pid, 0) or pid, "int 0x80")


@kernel(SIGSYS, "ENOSYS", **_X86)
def x32_abi(at):
    return checked(libc.syscall(ctypes.c_long(0x40000000 | 39)), "getpid of x32")


@kernel("EPERM")
def filter_over_filter(at):
    """A filter that allows all, laid over the one that does not."""
    checked(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    everything = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    program = struct.pack("HxxxxxxQ", 1, address(everything))
    call("seccomp", 1, 0, program)
    return call("unshare", CLONE_NEWUSER)


@kernel("EPERM")
def filter_that_asks(at):
    """A filter whose listener lets the call through: the other filters' word must stand."""
    checked(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    number = 272 if os.uname().machine == "x86_64" else 97  # unshare
    rules = struct.pack(
        "HBBIHBBIHBBIHBBI",
        *(0x20, 0, 0, 0), *(0x15, 0, 1, number), *(0x06, 0, 0, 0x7FC00000), *(0x06, 0, 0, 0x7FFF0000),
    )  # fmt: skip
    memory = ctypes.create_string_buffer(rules)
    listener = call("seccomp", 1, 8, struct.pack("HxxxxxxQ", 4, address(memory)))

    def answer():
        asked = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, asked)
        reply = asked[:8] + bytes(8) + struct.pack("iI", 0, 1)  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
        fcntl.ioctl(listener, 0xC0182101, reply)

    with child(answer):
        return call("unshare", CLONE_NEWUSER)


def a_terminal(at):
    ours, theirs = pty.openpty()
    os.setsid()
    fcntl.ioctl(theirs, 0x540E, 0)  # TIOCSCTTY
    os.dup2(theirs, 0)
    at["kept"] = ours


@kernel("EPERM", scene=a_terminal)
def push_into_terminal(at):
    return fcntl.ioctl(0, 0x5412, b"x")  # TIOCSTI


@kernel("EPERM", scene=a_terminal)
def line_discipline(at):
    return fcntl.ioctl(0, 0x5423, struct.pack("i", 0))  # TIOCSETD


@kernel("EPERM", world=World.ROOT)
def entropy_credit(at):
    return fcntl.ioctl(os.open("/dev/urandom", os.O_RDONLY), 0x40045201, struct.pack("i", 0))  # RNDADDTOENTCNT


def time_namespace(at):
    call("unshare", CLONE_NEWTIME)


@kernel("EROFS", "EACCES", "EPERM", world=World.OWN, scene=time_namespace)
def boot_time(at):
    with open("/proc/self/timens_offsets", "w") as file:
        return file.write("boottime 1000 0\n")


@kernel("EPERM", never="it takes huge pages that the host has set aside, and this must not need any")
def huge_pages(at):
    return mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)


@kernel("EPERM")
def huge_memory_file(at):
    return os.memfd_create("constellation", os.MFD_HUGETLB)
