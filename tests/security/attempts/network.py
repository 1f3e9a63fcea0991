"""Ways to other machines, to the host's services and to the kernel's network stack."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct

from tests.security.attempts.kit import SHARED_KEY, arm, call, checked, denied, libc, raise_loopback
from tests.security.attempts.table import Family, World

network = Family("network")


def loopback(at):
    raise_loopback()


@network("ENOSYS")
def netlink(at):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


@network("ENOSYS", world=World.OWN)
def packet(at):
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)


@network("ENOSYS")
def vsock(at):
    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)


@network("ENOSYS")
def kernel_crypto(at):
    return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)


@network("ENOSYS", world=World.OWN)
def express_data_path(at):
    return socket.socket(44, socket.SOCK_RAW)


@network("EPERM", world=World.OWN)
def raw_ip(at):
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@network("EPERM", world=World.OWN)
def packet_mark(at):
    with socket.socket(socket.AF_INET) as any_socket:
        any_socket.setsockopt(socket.SOL_SOCKET, 36, 1)


@network("EPERM", world=World.OWN, scene=loopback)
def interface_down(at):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0))


@network("EACCES", world=World.OWN, scene=loopback)
def privileged_port(at):
    return socket.create_server(("127.0.0.1", 80))


@network("ENOENT", needs_root=True)
def tunnel_device(at):
    return os.open("/dev/net/tun", os.O_RDWR)


@network("EPERM", "EINVAL", world=World.ROOT)
def forged_credentials(at):
    one, other = socket.socketpair()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    stranger = struct.pack("iii", 1, 4321, 4321)
    return one.sendmsg([b"x"], [(socket.SOL_SOCKET, 2, stranger)])


def metadata_service(at):
    raise_loopback("169.254.169.254")
    at["kept"] = socket.create_server(("169.254.169.254", 80))


@network("ENETUNREACH", world=World.OWN, scene=metadata_service)
def metadata_address(at):
    return socket.create_connection(("169.254.169.254", 80), timeout=2)


def neighbouring_machine(at):
    raise_loopback("10.0.0.1")
    at["kept"] = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    at["kept"][0].bind(("10.0.0.1", 53))


@network("ENETUNREACH", world=World.OWN, scene=neighbouring_machine)
def private_network(at):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return any_socket.sendto(b"x", ("10.0.0.1", 53))


@network("ECONNREFUSED")
def service_of_the_host(at):
    return socket.create_connection(("127.0.0.1", at["host_port"]), timeout=2)


@network("ECONNREFUSED")
def abstract_socket_of_the_host(at):
    return socket.socket(socket.AF_UNIX).connect("\0" + at["host_abstract"])


@network("ENOENT")
def socket_file_of_the_host(at):
    return socket.socket(socket.AF_UNIX).connect(at["host_socket"])


def neighbour(at):
    raise_loopback()
    arm(at["scratch"])


@network("ECONNREFUSED", world=World.OWN, scene=neighbour)
def abstract_socket_of_a_neighbour(at):
    return socket.socket(socket.AF_UNIX).connect("\0constellation-neighbour")


@network("ECONNREFUSED", world=World.OWN, scene=neighbour)
def service_of_a_neighbour(at):
    return socket.create_connection(("127.0.0.1", 18080), timeout=2)


@network("ENOENT", "EPERM", world=World.OWN, scene=neighbour)
def shared_memory_of_a_neighbour(at):
    return checked(libc.shmget(SHARED_KEY, 4096, 0), "shmget")


@network("ENOENT", world=World.OWN, scene=neighbour)
def messages_of_a_neighbour(at):
    return checked(libc.msgget(SHARED_KEY, 0), "msgget")


@network("ENOENT", world=World.OWN, scene=neighbour)
def semaphore_of_a_neighbour(at):
    return checked(libc.semget(SHARED_KEY, 1, 0), "semget")


@network("ENOENT", world=World.OWN, scene=neighbour)
def posix_queue_of_a_neighbour(at):
    return call("mq_open", b"constellation", os.O_RDONLY, 0, 0)


@network("ENOENT", world=World.OWN, scene=neighbour)
def files_of_a_neighbour(at):
    with open(at["scratch"] + "/constellation-secret") as file:
        return file.read()


@network("ENOENT", world=World.OWN, scene=neighbour)
def memory_files_of_a_neighbour(at):
    with open("/dev/shm/constellation-secret") as file:
        return file.read()


def a_directory_left_open(at):
    os.dup2(os.open(at["host_dir"], os.O_RDONLY), 7, inheritable=True)


@network("EBADF", scene=a_directory_left_open)
def inherited_directory(at):
    for number in range(64):
        try:
            fd = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=number)
        except OSError:
            continue
        return os.listdir(fd)
    raise denied("no directory among the descriptors", errno.EBADF)


def a_socket_left_open(at):
    server = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(server.fileno(), True)
    at["kept"] = server


@network("EBADF", scene=a_socket_left_open)
def inherited_socket(at):
    """A network socket made outside keeps its network namespace, whoever holds it."""
    for number in range(64):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with found:
            if found.family != socket.AF_UNIX:
                return found.getsockname()
    raise denied("no network socket among the descriptors", errno.EBADF)


@network("EPERM", "protocol", never="outside there is no platform at the other end")
def descriptors_for_the_platform(at):
    """Descriptors that are passed along with rubbish would fill the platform's table. New kernels refuse to pass them."""
    channel = socket.socket(fileno=os.dup(3))
    ours, _ = socket.socketpair()
    rights = array.array("i", [ours.fileno()] * 250)
    channel.sendmsg([struct.pack(">IBBHI", 0, 0x7F, 0, 0, 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    libc.pause()


@network("protocol", never="outside there is no platform at the other end")
def endless_frame(at):
    socket.socket(fileno=os.dup(3)).sendall(struct.pack(">IBBHI", 0xFFFFFFFF, 1, 0, 0, 1) + b"x" * 65536)
    libc.pause()
