"""ct-guest as the first process of somebody else's container."""

from __future__ import annotations

import os
import socket
import subprocess
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


@pytest.mark.parametrize("words", [[], ["--connect"], ["--connect", "/socket"]])
def test_a_command_line_without_a_program_is_refused(words):
    done = subprocess.run([libexec_path("ct-guest"), *words], capture_output=True, check=False)
    assert done.returncode == 64
    assert b"usage" in done.stderr


def test_a_host_that_is_not_there_is_told(tmp_path):
    guest = _started(tmp_path / "absent.sock", "true")
    _, said = guest.communicate(timeout=20)
    assert guest.returncode == 125
    assert b"absent.sock: No such file or directory" in said
