"""ct-guest as the first process of somebody else's container."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from constellation.native import libexec_path

TRY = "unshare -U true; mount -t tmpfs none /tmp; printf said >&3; echo out; echo err >&2; exit 7"


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "agent.sock"))
        made.listen(1)
        made.settimeout(20)
        yield made


def _started(path: Path, *command: str) -> subprocess.Popen[bytes]:
    words = [libexec_path("ct-guest"), "--connect", path, *command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"})


def test_the_program_gets_its_channel_and_pipe_and_may_not_ask_the_kernel_for_more(listener, tmp_path):
    guest = _started(tmp_path / "agent.sock", "sh", "-c", TRY)
    out_fd, in_fd = os.pipe()
    channel, _ = listener.accept()
    with channel, os.fdopen(out_fd, "rb") as output:
        socket.send_fds(channel, [b"\0"], [in_fd])
        os.close(in_fd)
        said = output.read().decode()
        assert channel.recv(64) == b"said"
        assert channel.recv(64) == b""
    assert guest.communicate(timeout=20) == (b"", b"")  # its own two were let go
    assert guest.returncode == 7
    lines = said.splitlines()
    assert lines[-2:] == ["out", "err"]
    assert "unshare failed: Operation not permitted" in said
    assert "mount: /tmp: permission denied" in said


def test_a_program_that_is_not_there_is_told_in_the_pipe(listener, tmp_path):
    guest = _started(tmp_path / "agent.sock", "no-such-program")
    out_fd, in_fd = os.pipe()
    channel, _ = listener.accept()
    with channel, os.fdopen(out_fd, "rb") as output:
        socket.send_fds(channel, [b"\0"], [in_fd])
        os.close(in_fd)
        assert output.read() == b"ct-guest: no-such-program: No such file or directory\n"
    assert guest.communicate(timeout=20) == (b"", b"")
    assert guest.returncode == 126


@pytest.mark.parametrize("words", [[], ["--connect"], ["--connect", "/socket"], ["--await"], ["--await", "/code"]])
def test_a_command_line_without_a_program_is_refused(words):
    done = subprocess.run([libexec_path("ct-guest"), *words], capture_output=True, check=False)
    assert done.returncode == 64
    assert b"usage" in done.stderr


def test_a_host_that_is_not_there_is_told(tmp_path):
    guest = _started(tmp_path / "absent.sock", "true")
    _, said = guest.communicate(timeout=20)
    assert guest.returncode == 125
    assert b"absent.sock: No such file or directory" in said


@pytest.fixture
def waiting(tmp_path):
    """A guest that awaits a mount on a directory, in a mount namespace that the shell beside it has too; and its channel."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            guest = f'"{libexec_path("ct-guest")}" --await {tmp_path} sh -c "ls {tmp_path} >&3; exit 7" 3<&{theirs.fileno()} &'
            lines = f"{guest} read line; mount -t tmpfs none {tmp_path} && touch {tmp_path}/code && wait $!"
            shell = subprocess.Popen(
                ["unshare", "-m", "bash", "-c", lines], stdin=subprocess.PIPE, pass_fds=[theirs.fileno()]
            )
        with shell:
            ours.settimeout(0.2)
            yield ours, shell
            shell.kill()


def test_a_program_that_is_awaited_starts_when_its_code_is_there(waiting):
    channel, shell = waiting
    with pytest.raises(TimeoutError):
        channel.recv(64)
    channel.settimeout(20)
    shell.communicate(b"\n", timeout=20)
    assert shell.returncode == 7


def test_what_nobody_will_bring_is_not_awaited(waiting):
    channel, shell = waiting
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
    until = time.monotonic() + 20
    while not (found := children.read_text().split()):
        assert time.monotonic() < until
        time.sleep(0.01)
    channel.shutdown(socket.SHUT_RDWR)
    while _is_running(found[0]):
        assert time.monotonic() < until
        time.sleep(0.01)


def _is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
