"""Taking more than one's share, and staying longer than allowed. Each gets an instance of its own, with small limits."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import threading
import time

from tests.security.attempts.kit import SHARED_KEY, checked, denied, libc, raise_loopback
from tests.security.attempts.table import Family, World

bombs = Family("bombs")
MEMORY = {"memory_mb": 48}
OVER = ("out of memory", "ENOMEM", "MemoryError", "ENOSPC", "EPERM")


def loopback(at):
    raise_loopback()


def cut(outcome) -> str:
    return "cut" if outcome.log.truncated and len(outcome.log.text) <= 256 << 10 else "kept"


@bombs("EAGAIN", "out of memory", world=World.OWN, spec={"max_pids": 32})
def forks(at):
    """Every process doubles itself, seven times over."""
    first = os.getpid()
    for _ in range(7):
        try:
            os.fork()
        except OSError:
            continue
    while os.getpid() != first:
        libc.pause()
    until, count = time.monotonic() + 3, 0
    while count < 128 and time.monotonic() < until:
        time.sleep(0.05)
        count = sum(name.isdigit() for name in os.listdir("/proc"))
    if count < 128:
        raise denied(f"{count} processes are all", errno.EAGAIN)
    return count


@bombs("RuntimeError", world=World.OWN, spec={"max_pids": 32})
def threads(at):
    stop = threading.Event()
    started = [threading.Thread(target=stop.wait, daemon=True) for _ in range(100)]
    try:
        for each in started:
            each.start()
    finally:
        stop.set()
    return len(started)


@bombs(*OVER, world=World.OWN, spec=MEMORY)
def memory(at):
    return len(b"x" * (300 << 20))


@bombs(*OVER, world=World.OWN, spec=MEMORY)
def memory_of_many_children(at):
    """Each below the limit, all together far above it."""
    readers = []
    for _ in range(10):
        reader, writer = os.pipe()
        if os.fork() == 0:
            held = b"x" * (30 << 20)
            os.write(writer, b"y" if held else b"n")
            libc.pause()
        os.close(writer)
        readers.append(reader)
    if any(os.read(reader, 1) != b"y" for reader in readers):
        raise MemoryError
    time.sleep(1)  # where no control group counts it, somebody looks now and then
    return len(readers)


@bombs(*OVER, world=World.OWN, spec=MEMORY)
def memory_that_is_shared(at):
    held = mmap.mmap(-1, 200 << 20)
    for start in range(0, len(held), 1 << 20):
        held[start : start + (1 << 20)] = bytes(1 << 20)
    time.sleep(1)  # where no control group counts it, somebody looks now and then
    return len(held)


@bombs(*OVER, world=World.OWN, spec=MEMORY)
def system_v_memory(at):
    shared = checked(libc.shmget(SHARED_KEY, 200 << 20, 0o1600), "shmget")
    libc.shmat.restype = libc.memset.restype = ctypes.c_void_p
    where = libc.shmat(shared, None, 0)
    libc.memset(ctypes.c_void_p(where), 1, ctypes.c_size_t(200 << 20))
    return where


@bombs(*OVER, world=World.OWN, spec=MEMORY)
def memory_files(at):
    fd = os.memfd_create("constellation")
    for _ in range(200):
        os.write(fd, bytes(1 << 20))
    return fd


@bombs("ENOSPC", *OVER, world=World.OWN, spec=MEMORY)
def shared_memory_directory(at):
    with open("/dev/shm/constellation-bomb", "wb") as file:
        file.writelines(bytes(1 << 20) for _ in range(100))
    return "full"


@bombs(*OVER, "EMFILE", world=World.OWN, ground="memory group", spec={"memory_mb": 32})
def pipes(at):
    """A pipe holds up to a mebibyte of the kernel's memory."""
    held = 0
    for _ in range(50):
        _, writer = os.pipe()
        checked(libc.fcntl(writer, 1031, 1 << 20), "F_SETPIPE_SZ")
        os.set_blocking(writer, False)
        held += os.write(writer, bytes(1 << 20))
    return held


@bombs(*OVER, "EMFILE", world=World.OWN, ground="memory group", spec=MEMORY)
def local_sockets(at):
    held = 0
    for _ in range(500):
        pair = socket.socketpair()
        at.setdefault("kept", []).append(pair)
        for each in pair:
            each.setblocking(False)
            try:
                while True:
                    held += each.send(bytes(65536))
            except BlockingIOError:
                continue
    if held < 100 << 20:
        raise MemoryError
    return held


@bombs(*OVER, "EMFILE", world=World.OWN, ground="memory group", scene=loopback, spec=MEMORY)
def network_buffers(at):
    """What is sent and never read stays in the kernel; what all TCP may hold is one number for the whole host."""
    server = socket.create_server(("127.0.0.1", 0), backlog=200)
    held = 0
    until = time.monotonic() + 8
    for _ in range(120):
        one = socket.create_connection(server.getsockname())
        other = server.accept()[0]
        at.setdefault("kept", []).append((one, other))
        one.settimeout(0.02)
        try:
            while time.monotonic() < until:
                held += one.send(bytes(1 << 18))
        except TimeoutError:
            continue
        if held > 150 << 20:
            break
    if held < 150 << 20:
        raise MemoryError
    return held


@bombs("ENOSPC", world=World.OWN, spec={"tmp_mb": 4})
def disk(at):
    with open(at["scratch"] + "/bomb", "wb", buffering=0) as file:
        file.writelines(bytes(1 << 20) for _ in range(64))
    return "full"


@bombs("ENOSPC", world=World.OWN)
def inodes(at):
    for number in range(20000):
        os.mknod(f"{at['scratch']}/{number}")
    return number


@bombs("EMFILE")
def descriptors(at):
    return [os.dup(0) for _ in range(1500)]


@bombs("cut", judge=cut)
def log(at):
    for _ in range(2000):
        print("x" * 4096)
    return "told"


@bombs("cut", judge=cut)
def raw_output(at):
    """Past the language, to the descriptor."""
    for _ in range(2000):
        os.write(2, b"x" * 4095 + b"\n")
    print("x" * (1 << 20))
    return "told"


@bombs("OutputTooLarge", "OutputInvalid", "ValueError", "protocol", "output_too_large")
def answer(at):
    return "x" * (32 << 20)


@bombs("timeout", control="running", timeout_s=1.0)
def spin(at):
    while True:
        at["spins"] = 1


@bombs("timeout", control="running", timeout_s=1.0)
def deaf_to_signals(at):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        libc.pause()


@bombs("timeout", control="survived", timeout_s=1.0)
def daemon_that_survives(at):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
            print(os.getpid(), flush=True)
            os.close(0)
            time.sleep(60)
        os._exit(0)
    while True:
        time.sleep(1)


@bombs("timeout", control="running", timeout_s=1.0)
def another_program_in_its_place(at):
    os.execv("/bin/sleep", ["sleep", "60"])


@bombs("timeout", control="running", timeout_s=1.0)
def stopped(at):
    """Waits in the kernel for a child that is stopped."""
    if os.fork() == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.wait()
