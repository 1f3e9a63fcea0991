"""The routes of volumes."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.volumes import VolumeBody, VolumeCreate, VolumeUpdate
from constellation.routes.route import PAGING, Query, Route, nova

P = Permission
_VOLUME = "/volumes/{name}"

VOLUMES: tuple[Route, ...] = (
    nova("create_volume", "POST", "/volumes", P.VOLUME_MANAGE, "Make a directory that functions of the namespace can mount",
            status=201, request=VolumeCreate, response=VolumeBody),
    nova("list_volumes", "GET", "/volumes", P.VOLUME_READ, "Volumes by name, and who mounts them",
            response=Page[VolumeBody], query=(*PAGING, Query(name="search", about="part of the name"))),
    nova("get_volume", "GET", _VOLUME, P.VOLUME_READ, "One volume", response=VolumeBody),
    nova("update_volume", "PATCH", _VOLUME, P.VOLUME_MANAGE, "Change who may mount a volume, and how",
            request=VolumeUpdate, response=VolumeBody),
    nova("delete_volume", "DELETE", _VOLUME, P.VOLUME_MANAGE, "Delete a volume that nothing mounts, and its files",
            response=Deleted),
)  # fmt: skip
