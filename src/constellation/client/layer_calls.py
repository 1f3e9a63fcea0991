"""The operations on layers, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET, structs

from constellation.client.call import Call, call, page_call
from constellation.routes.models import layers as x
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def create_layer(
    name: str,
    *,
    files: Mapping[str, str] | None = None,
    archive: str | None = None,
    description: str = "",
    runtimes: Sequence[str] = (),
) -> Call[x.LayerBody]:
    """Keep the first version of a layer; an `ApiProblem` of 409 when the name is taken.

    Args:
        files: path -> base64; or
        archive: a ZIP archive in base64.
    """
    body = _content(files, archive, description, runtimes)
    return call("create_layer", x.LayerBody, body=x.LayerCreate(name=name, **structs.asdict(body)))


def put_layer(
    name: str,
    *,
    files: Mapping[str, str] | None = None,
    archive: str | None = None,
    description: str = "",
    runtimes: Sequence[str] = (),
) -> Call[x.LayerBody]:
    """Keep a new version of a layer, of the same as `create_layer`; what equals the newest one makes none."""
    body = _content(files, archive, description, runtimes)
    return call("put_layer", x.LayerBody, params={"name": name}, body=body)


def list_layers(
    *, search: str | None = None, runtime: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[x.LayerBody]]:
    """The layers of the tenant by name, each in its newest version."""
    return page_call("list_layers", x.LayerBody, page_size=page_size, query={"search": search, "runtime": runtime})


def get_layer(name: str, *, version: int | None = None) -> Call[x.LayerBody]:
    """One version of a layer, or the newest."""
    return call("get_layer", x.LayerBody, params={"name": name}, query={"version": version})


def list_layer_versions(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[x.LayerBody]]:
    """The versions of a layer, newest first."""
    return page_call("list_layer_versions", x.LayerBody, page_size=page_size, params={"name": name})


def list_layer_files(
    name: str, *, version: int | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[x.LayerFileBody]]:
    """The files of a version, by path."""
    return page_call(
        "list_layer_files", x.LayerFileBody, page_size=page_size, params={"name": name}, query={"version": version}
    )


def list_layer_functions(
    name: str, *, version: int | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[x.LayerUserBody]]:
    """Functions, and versions of them that are kept, that use a layer."""
    return page_call(
        "list_layer_functions", x.LayerUserBody, page_size=page_size, params={"name": name}, query={"version": version}
    )


def delete_layer(name: str, *, version: int | None = None) -> Call[x.LayerDeleted]:
    """Delete a layer, or one version of it; an `ApiProblem` of 409 says what still uses it."""
    return call("delete_layer", x.LayerDeleted, params={"name": name}, query={"version": version})


def _content(
    files: Mapping[str, str] | None, archive: str | None, description: str, runtimes: Sequence[str]
) -> x.LayerPut:
    return x.LayerPut(
        files=UNSET if files is None else dict(files),
        archive=UNSET if archive is None else archive,
        description=description,
        runtimes=tuple(runtimes),
    )
