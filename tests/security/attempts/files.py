"""The host's files, devices and switches, and the code that a function is given."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess

from tests.security.attempts.kit import checked, denied, libc, mount, started
from tests.security.attempts.table import Family, World

files = Family("files")
ABSENT = ("ENOENT",)
LOCKED = ("EROFS", "EACCES", "EPERM")


@files(*ABSENT, needs_root=True)
def password_hashes(at):
    with open("/etc/shadow") as file:
        return file.readline()


@files(*ABSENT)
def file_of_the_host(at):
    with open(at["host_file"]) as file:
        return file.read()


@files(*ABSENT)
def run_directory_of_the_platform(at):
    return os.listdir(at["run_dir"])


@files(*ABSENT)
def environment_of_the_platform(at):
    with open(f"/proc/{at['host_pid']}/environ", "rb") as file:
        return file.read(1)


@files(*ABSENT)
def memory_of_the_platform(at):
    with open(f"/proc/{at['host_pid']}/maps") as maps, open(f"/proc/{at['host_pid']}/mem", "rb") as memory:
        memory.seek(int(maps.readline().split("-")[0], 16))
        return memory.read(16)


@files(*ABSENT)
def descriptors_of_the_platform(at):
    return os.listdir(f"/proc/{at['host_pid']}/fd")


@files(*ABSENT)
def root_of_the_platform(at):
    with open(f"/proc/{at['host_pid']}/root{at['host_file']}") as file:
        return file.read()


@files(*ABSENT)
def root_of_the_first_process(at):
    """Through /proc/1/root, a working directory and as many `..` as it takes."""
    for start in ("/proc/1/root", "/proc/1/cwd", f"/proc/{os.getppid()}/root", "/proc/self/cwd"):
        for path in (start + at["host_file"], start + "/.." * 12 + at["host_file"]):
            try:
                with open(path) as file:
                    return file.read()
            except OSError:
                continue
    raise denied("every way ends at our own root")


@files(*ABSENT)
def link_out_of_the_code(at):
    """A symbolic link that the tenant's archive brought along, to a file of the host."""
    with open(at["code"] + "/way-out") as file:
        return file.read()


@files(*LOCKED)
def write_into_the_code(at):
    with open(at["code"] + "/planted.py", "w") as file:
        return file.write("x")


@files(*LOCKED)
def swap_the_code_for_a_link(at):
    os.symlink(at["host_file"], at["code"] + "/main.new")
    return os.rename(at["code"] + "/main.new", at["code"] + "/other.py")


@files("EXDEV", *LOCKED)
def hard_link_to_the_code(at):
    os.link(at["code"] + "/main.py", at["code_scratch"] + "/kept.py")
    return os.unlink(at["code_scratch"] + "/kept.py")


@files("ENOENT", *LOCKED, ground="root")
def root_only_file_in_the_code(at):
    with open(at["code"] + "/private") as file:
        return file.read()


def own_program(at):
    with open("/bin/sleep", "rb") as source, open(at["scratch"] + "/sleep", "wb") as copy:
        copy.write(source.read())
        os.fchmod(copy.fileno(), 0o755)
    return {"program": at["scratch"] + "/sleep"}


@files(*LOCKED, scene=own_program)
def overwrite_a_program_by_its_process(at):
    """The way of CVE-2019-5736: /proc/<pid>/exe reopened for writing once the program no longer runs."""
    with started(at["program"], "30") as pid:
        program = os.open(f"/proc/{pid}/exe", os.O_PATH)
    return os.open(f"/proc/self/fd/{program}", os.O_WRONLY)


@files("EPERM", world=World.ROOT)
def device_node(at):
    return os.mknod(at["scratch"] + "/disk", 0o60666, os.makedev(254, 0))


@files(*ABSENT, needs_root=True)
def disk_of_the_host(at):
    for name in os.listdir("/sys/block"):
        if os.path.exists(f"/sys/block/{name}/device"):
            return os.open(f"/dev/{name}", os.O_RDONLY)
    raise denied("no disk")


@files(*ABSENT, needs_root=True)
def kernel_log_device(at):
    return os.read(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), 8192)


@files(*ABSENT, needs_root=True)
def fuse_device(at):
    return os.open("/dev/fuse", os.O_RDWR)


@files(*ABSENT)
def terminals(at):
    return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)


@files(*ABSENT, needs_root=True)
def loop_devices(at):
    return os.open("/dev/loop-control", os.O_RDWR)


@files(*ABSENT, needs_root=True)
def virtual_machines(at):
    return os.open("/dev/kvm", os.O_RDWR)


@files(*ABSENT)
def sysfs(at):
    return os.listdir("/sys/kernel")


@files(*ABSENT, *LOCKED, world=World.ROOT)
def sysfs_switch(at):
    return os.open("/sys/kernel/rcu_normal", os.O_WRONLY)  # opened, not written


@files(*LOCKED, world=World.OWN)
def hostname_by_proc(at):
    with open("/proc/sys/kernel/hostname", "w") as file:
        return file.write("taken")


@files(*LOCKED, world=World.OWN)
def forwarding_by_proc(at):
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        return file.write("1")


@files(*LOCKED, world=World.ROOT)
def core_pattern(at):
    return os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)  # opened, not written


@files(*LOCKED, world=World.ROOT)
def drop_caches(at):
    return os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)


@files(*ABSENT, *LOCKED, world=World.ROOT)
def magic_key(at):
    return os.open("/proc/sysrq-trigger", os.O_WRONLY)


@files(*ABSENT, *LOCKED, world=World.ROOT)
def kernel_memory(at):
    with open("/proc/kcore", "rb") as file:
        if file.read(4) == b"\x7fELF":
            return "the kernel's memory"
    raise denied("masked", errno.EACCES)


@files(*ABSENT, *LOCKED, world=World.ROOT)
def kernel_addresses(at):
    with open("/proc/kallsyms") as file:
        for line in file:
            if int(line.split()[0], 16):
                return line
    raise denied("masked", errno.EACCES)


@files(*ABSENT, *LOCKED, world=World.ROOT)
def keys_in_proc(at):
    with open("/proc/keys") as file:
        if file.read(1):
            return "keys"
    raise denied("masked", errno.EACCES)


@files(*LOCKED, world=World.ROOT)
def out_of_memory_score(at):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")
        file.flush()
        return "never killed"


def own_etc(at):
    mount("tmpfs", "/etc", "tmpfs")
    with open("/etc/passwd", "w") as file:
        file.write("root")


@files(*LOCKED, world=World.OWN, scene=own_etc)
def rewrite_the_users(at):
    os.rename("/etc/passwd", "/etc/passwd.old")


@files(*ABSENT, needs_root=True)
def leave_the_control_group(at):
    with open(at["group_root"], "w") as file:
        return file.write("0")


@files(*ABSENT, *LOCKED, needs_root=True)
def raise_own_memory_limit(at):
    return os.open(at["own_limit"], os.O_WRONLY)


@files(*ABSENT, needs_root=True)
def release_agent(at):
    return os.open(os.path.dirname(at["group_root"]) + "/release_agent", os.O_WRONLY)


@files("EPERM", world=World.ROOT)
def immutable_file(at):
    fd = os.open(at["scratch"] + "/file", os.O_CREAT | os.O_RDWR)
    return fcntl.ioctl(fd, 0x40086602, struct.pack("i", 0x10))  # FS_IOC_SETFLAGS


@files("EPERM", world=World.ROOT)
def trusted_attribute(at):
    os.close(os.open(at["scratch"] + "/file", os.O_CREAT | os.O_RDWR))
    return os.setxattr(at["scratch"] + "/file", "trusted.overlay.opaque", b"y")


@files("EPERM", "EINVAL", world=World.ROOT)
def give_a_file_away(at):
    os.close(os.open(at["scratch"] + "/file", os.O_CREAT | os.O_RDWR))
    return os.chown(at["scratch"] + "/file", 4321, 4321)


@files("EACCES", world=World.OWN)
def program_in_shared_memory(at):
    with open("/bin/sleep", "rb") as source, open("/dev/shm/sleep", "wb") as copy:
        copy.write(source.read())
        os.fchmod(copy.fileno(), 0o755)
    return subprocess.run(["/dev/shm/sleep", "0"], check=True)


@files("EPERM", "ENOSYS")
def watch_the_host_by_inotify(at):
    """Which program another tenant, or the host, starts at this moment: the files below /usr are the same ones."""
    fd = checked(libc.inotify_init1(0), "inotify_init1")
    checked(libc.inotify_add_watch(fd, os.path.dirname(at["shared_file"]).encode(), 0x20), "inotify_add_watch")
    if not select.select([fd], [], [], 5)[0]:
        raise denied("nothing was seen", errno.EAGAIN)
    return os.read(fd, 4096)


@files("EPERM", "ENOSYS")
def watch_the_host_by_dnotify(at):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    fd = os.open(os.path.dirname(at["shared_file"]), os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
    if signal.sigtimedwait({signal.SIGIO}, 5) is None:
        raise denied("nothing was seen", errno.EAGAIN)
    return "seen"


@files("EPERM", "EACCES")
def lease_on_a_file_of_the_host(at):
    """A lease makes whoever opens the file next wait, for 45 seconds."""
    return fcntl.fcntl(os.open(at["code"] + "/main.py", os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
