"""Volumes of the caller's namespace, and what functions mount of them."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.function import Function
from constellation.nova.domain.volume import Access, Volume, check_access, check_mounts, check_volume_name
from constellation.nova.store.volumes import Volumes
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.volumes import VolumeBody, VolumeCreate, VolumeUpdate
from constellation.routes.reading import page_of


class VolumeUses:
    """What functions mount."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    async def check(self, function: Function) -> None:
        """Let the mounts of a function through, or raise `InvalidRequest`, `VolumeUnknown`."""
        if not function.mounts:
            return
        check_mounts(function.mounts, runtime=function.runtime, backend=function.backend)
        names = [each.volume for each in function.mounts]
        check_access(function.mounts, await self._volumes.some(function.tenant, function.namespace, names))


class VolumeRoutes:
    """Operations on volumes."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    async def create_volume(self, call: ApiRequest[VolumeCreate]) -> VolumeBody:
        body = call.body
        made = await self._volumes.create(
            *call.scope,
            check_volume_name(body.name),
            size_mb=body.size_mb,
            access=Access(body.access),
            description=body.description,
        )
        return _body(made)

    async def get_volume(self, call: ApiRequest[None]) -> VolumeBody:
        return _body(await self._volumes.get(*call.scope, call.params["name"]))

    async def list_volumes(self, call: ApiRequest[None]) -> Page[VolumeBody]:
        found = await self._volumes.list(
            *call.scope,
            search=call.query.get("search") or None,
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _body)

    async def update_volume(self, call: ApiRequest[VolumeUpdate]) -> VolumeBody:
        access, description = call.body.access, call.body.description
        changed = await self._volumes.update(
            *call.scope,
            call.params["name"],
            access=None if isinstance(access, UnsetType) else Access(access),
            description=None if description is UNSET else description,
        )
        return _body(changed)

    async def delete_volume(self, call: ApiRequest[None]) -> Deleted:
        name = call.params["name"]
        await self._volumes.delete(*call.scope, name)
        return Deleted(status="deleted", name=name)


def _body(volume: Volume) -> VolumeBody:
    return VolumeBody(
        name=volume.name,
        size_mb=volume.size_mb,
        access=volume.access.value,
        description=volume.description,
        version=volume.version,
        functions=list(volume.functions),
        functions_count=volume.functions_count,
        created_at=volume.created_at,
        updated_at=volume.updated_at,
    )
