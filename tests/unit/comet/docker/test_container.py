"""What a container is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.docker.container import Place, container_of
from constellation.comet.runtimes.node.recipe import RUNTIME as NODE
from constellation.comet.runtimes.ruby.recipe import RUNTIME as RUBY

PLACE = Place(
    image="sha256:1", instance="i", platform="p", uid=1000, guest_dir=Path("/g"), door_dir=Path("/d"), shm_mb=1
)


def _mounts(runtime, tmp_path, layers_dir):
    spec = InstanceSpec(
        tenant="acme",
        namespace="prod",
        function_id=uuid7(),
        function_name="f",
        function_version="1",
        runtime=runtime.id,
        handler="main.handler",
        code_dir=tmp_path / "code",
        layers_dir=layers_dir,
    )
    made = container_of(spec, runtime, runtime.contained, PLACE)
    return {mount["Target"]: mount for mount in made["HostConfig"]["Mounts"]}


@pytest.mark.parametrize(("runtime", "is_linked"), [(NODE, True), (RUBY, False)])
def test_packages_of_layers_lie_where_import_looks(tmp_path, runtime, is_linked):
    packages = tmp_path / "layers" / "nodejs" / "node_modules"
    packages.mkdir(parents=True)
    mounts = _mounts(runtime, tmp_path, tmp_path / "layers")
    assert mounts["/opt"]["Source"] == str(tmp_path / "layers")
    assert ("/node_modules" in mounts) == is_linked
    if is_linked:
        assert (mounts["/node_modules"]["Source"], mounts["/node_modules"]["ReadOnly"]) == (str(packages), True)


def test_layers_without_packages_and_no_layers_are_no_mount_there(tmp_path):
    (tmp_path / "layers").mkdir()
    assert "/node_modules" not in _mounts(NODE, tmp_path, tmp_path / "layers")
    assert "/node_modules" not in _mounts(NODE, tmp_path, None)
