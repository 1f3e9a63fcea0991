"""The operations on volumes, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET

from constellation.client.call import Call, call, page_call
from constellation.routes.models import volumes as x
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import DEFAULT_LIMIT, Page

Access = Literal["read_write", "read_only", "read_write_once"]


def create_volume(
    name: str, *, size_mb: int = 256, access: Access = "read_write", description: str = ""
) -> Call[x.VolumeBody]:
    """Make a volume; an `ApiProblem` of 409 when the name is taken."""
    body = x.VolumeCreate(name=name, size_mb=size_mb, access=access, description=description)
    return call("create_volume", x.VolumeBody, body=body)


def list_volumes(*, search: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[x.VolumeBody]]:
    """Volumes by name, and who mounts them."""
    return page_call("list_volumes", x.VolumeBody, page_size=page_size, query={"search": search})


def get_volume(name: str) -> Call[x.VolumeBody]:
    """One volume."""
    return call("get_volume", x.VolumeBody, params={"name": name})


def update_volume(name: str, *, access: Access | None = None, description: str | None = None) -> Call[x.VolumeBody]:
    """Change who may mount a volume; an `ApiProblem` of 409 says which functions stand against it."""
    body = x.VolumeUpdate(
        access=UNSET if access is None else access, description=UNSET if description is None else description
    )
    return call("update_volume", x.VolumeBody, params={"name": name}, body=body)


def delete_volume(name: str) -> Call[Deleted]:
    """Delete a volume and its files; an `ApiProblem` of 409 says what still mounts it."""
    return call("delete_volume", Deleted, params={"name": name})
