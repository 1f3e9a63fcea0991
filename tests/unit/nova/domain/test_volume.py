from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.volume import Access, Volume, VolumeUnknown, check_access, check_mounts, check_path
from constellation.nova.domain.volume_mount import VolumeMount


@pytest.mark.parametrize(
    "path",
    ["", "/", "mnt/x", "/mnt/", "/mnt//x", "/mnt/../etc", "/mnt/./x", "/.x", "/-x", "/mnt/a b", "/mnt/x\n", "/code", "/opt/x",
     "/proc", "/sys/fs", "/dev/shm", "/tmp", "/usr/lib", "/run/secrets", "/etc/ssl", "/lib64", "/" + "a" * 200],
)  # fmt: skip
def test_no_volume_lies_over_what_is_anothers(path: str) -> None:
    with pytest.raises(InvalidRequest):
        check_path(path)


@pytest.mark.parametrize("path", ["/mnt/data", "/data", "/srv/a.b/c_d-e", "/home/me", "/codes", "/optional"])
def test_other_places_are_free(path: str) -> None:
    check_path(path)


def mount(volume: str, path: str, *, read_only: bool = False) -> VolumeMount:
    return VolumeMount(volume=volume, path=path, read_only=read_only)


@pytest.mark.parametrize(
    ("mounts", "reason"),
    [
        ((mount("a", "/mnt/a"), mount("a", "/mnt/b")), "twice"),
        ((mount("a", "/mnt"), mount("b", "/mnt/b")), "lies in /mnt"),
        ((mount("a", "/mnt/a"), mount("b", "/mnt/a")), "lies in /mnt/a"),
        (tuple(mount(str(n), f"/mnt/{n}") for n in range(9)), "more than 8"),
    ],
)
def test_mounts_that_do_not_go_together(mounts: tuple[VolumeMount, ...], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        check_mounts(mounts, runtime="python", backend="auto")


def test_what_has_no_volumes_refuses_them() -> None:
    for runtime, backend in (("wasm", "auto"), ("python", "docker"), ("image", "docker")):
        with pytest.raises(InvalidRequest, match="can not mount"):
            check_mounts((mount("a", "/mnt/a"),), runtime=runtime, backend=backend)
    check_mounts((mount("a", "/mnt/a"), mount("b", "/mnt/ab")), runtime="python", backend="namespace")


def test_a_mount_does_not_ask_for_more_than_its_volume_allows() -> None:
    now = datetime.now(UTC)
    volume = Volume(
        tenant="t", namespace="n", name="a", id=uuid4(), size_mb=8, access=Access.READ_ONLY, description="", version=1,
        created_at=now, updated_at=now,
    )  # fmt: skip
    check_access((mount("a", "/mnt/a", read_only=True),), {"a": volume})
    with pytest.raises(InvalidRequest, match="read_only"):
        check_access((mount("a", "/mnt/a"),), {"a": volume})
    with pytest.raises(VolumeUnknown):
        check_access((mount("b", "/mnt/a"),), {"a": volume})
