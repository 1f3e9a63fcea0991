from __future__ import annotations

from dataclasses import replace

import pytest

from constellation.base.errors import AlreadyExists, NotFound
from constellation.base.ids import uuid7
from constellation.nova.domain.function import Function
from constellation.nova.domain.volume import Access, Volume, VolumeInUse, VolumeTaken, VolumeUnknown
from constellation.nova.domain.volume_mount import VolumeMount
from constellation.nova.store.functions import Functions
from constellation.nova.store.pool import Database
from constellation.nova.store.tenancy import Tenancy
from constellation.nova.store.versions import Versions
from constellation.nova.store.volumes import Volumes

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

HERE = ("default", "default")
CODE = {"main.py": b"def handler(event, context): return event"}


async def make(db: Database, name: str, access: Access = Access.READ_WRITE, tenant: str = "default") -> Volume:
    return await Volumes(db).create(tenant, "default", name, size_mb=8, access=access, description="")


def function(name: str, volume: str, *, read_only: bool = False, tenant: str = "default") -> Function:
    mounts = (VolumeMount(volume=volume, path="/mnt/v", read_only=read_only),)
    return Function(
        tenant=tenant,
        namespace="default",
        name=name,
        id=uuid7(),
        runtime="python",
        handler="main.handler",
        mounts=mounts,
    )


async def test_a_volume_that_something_mounts_stays(db: Database) -> None:
    functions, volumes = Functions(db), Volumes(db)
    await make(db, "v")
    with pytest.raises(AlreadyExists):
        await make(db, "v")
    made = await functions.create(function("f", "v"), CODE)
    assert made.mounts[0].path == "/mnt/v"
    bare = await functions.update(replace(made, mounts=()))
    assert (await volumes.get(*HERE, "v")).functions == ("f",)  # its version 1 can be called
    with pytest.raises(VolumeInUse) as refused:
        await volumes.delete(*HERE, "v")
    assert refused.value.extras["users"] == ["f version 1"]
    await Versions(db).delete("default", bare.id, 1)
    await volumes.delete(*HERE, "v")
    with pytest.raises(NotFound):
        await volumes.get(*HERE, "v")
    with pytest.raises(VolumeUnknown):
        await functions.update(replace(bare, mounts=made.mounts))


async def test_a_volume_for_one_function_has_one(db: Database) -> None:
    functions, volumes = Functions(db), Volumes(db)
    await make(db, "once", Access.READ_WRITE_ONCE)
    first = await functions.create(function("first", "once"), CODE)
    await functions.update(first, files={"main.py": b"other"})  # another version of the same
    with pytest.raises(VolumeTaken):
        await functions.create(function("second", "once", read_only=True), CODE)
    await volumes.update(*HERE, "once", access=Access.READ_WRITE, description=None)
    await functions.create(function("second", "once", read_only=True), CODE)
    for access, users in ((Access.READ_WRITE_ONCE, ["first", "second"]), (Access.READ_ONLY, ["first"])):
        with pytest.raises(VolumeInUse) as refused:
            await volumes.update(*HERE, "once", access=access, description="x")
        assert refused.value.extras["users"] == users
    assert (await volumes.get(*HERE, "once")).description == ""


async def test_volumes_go_with_their_namespace_and_their_tenant(db: Database) -> None:
    functions, volumes, tenancy = Functions(db), Volumes(db), Tenancy(db)
    mine = await make(db, "v")
    await tenancy.create_tenant("other")
    theirs = await make(db, "v", tenant="other")
    await functions.create(function("f", "v"), CODE)
    await functions.create(function("f", "v", tenant="other"), CODE)
    assert await volumes.existing([mine.id, theirs.id, uuid7()]) == {mine.id, theirs.id}
    await tenancy.delete_tenant("other")
    assert await volumes.existing([mine.id, theirs.id]) == {mine.id}
    assert (await volumes.get(*HERE, "v")).functions == ("f",)
