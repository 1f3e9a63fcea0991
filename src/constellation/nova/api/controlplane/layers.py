"""Layers of the caller's tenant, and what functions use of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread

from constellation.base.errors import AlreadyExists, InvalidRequest
from constellation.nova.api.controlplane.layer_archive import files_of
from constellation.nova.api.request import ApiRequest
from constellation.nova.domain.deploy import runtime_of
from constellation.nova.domain.function import Function, code_hash
from constellation.nova.domain.layer import Layer, LayerUnknown, check_layer_name, check_uses, read_reference
from constellation.nova.domain.layer_pin import LayerPin
from constellation.nova.store.layers import LayerFile, Layers, LayerUser
from constellation.routes.models.layers import (
    LayerBody,
    LayerCreate,
    LayerDeleted,
    LayerFileBody,
    LayerPut,
    LayerUserBody,
)
from constellation.routes.models.paging import Page
from constellation.routes.reading import page_of

_unpacking = anyio.CapacityLimiter(1)  # an archive may unpack to 64 MiB: one at a time


class LayerUses:
    """What functions use of the layers of their tenant."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    async def pins(self, tenant: str, references: Sequence[str]) -> tuple[LayerPin, ...]:
        """Return the versions that "name" and "name:3" stand for now.

        Raises:
            LayerUnknown: the tenant has none of that name or version.
        """
        return tuple([(await self._found(tenant, each)).pin for each in references])

    async def check(self, function: Function) -> None:
        """Let the layers of a function through, or raise `InvalidRequest`, `LayerUnknown`."""
        layers = [await self._found(function.tenant, pin.shown) for pin in function.layers]
        check_uses(layers, runtime=function.runtime, backend=function.backend)

    async def _found(self, tenant: str, reference: str) -> Layer:
        found = await self._layers.try_get(tenant, *read_reference(reference))
        if found is None:
            raise LayerUnknown(reference)
        return found


class LayerRoutes:
    """Operations on layers. They belong to the tenant: its namespaces share them."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    async def create_layer(self, call: ApiRequest[LayerCreate]) -> LayerBody:
        name = check_layer_name(call.body.name)
        if await self._layers.try_get(call.scope[0], name) is not None:
            raise AlreadyExists("layer", name)
        return await self._publish(call, name, call.body)

    async def put_layer(self, call: ApiRequest[LayerPut]) -> LayerBody:
        return await self._publish(call, check_layer_name(call.params["name"]), call.body)

    async def get_layer(self, call: ApiRequest[None]) -> LayerBody:
        return _body(await self._read(call))

    async def list_layers(self, call: ApiRequest[None]) -> Page[LayerBody]:
        found = await self._layers.list(
            call.scope[0],
            search=call.query.get("search") or None,
            runtime=call.query.get("runtime") or None,
            limit=call.window.limit,
            offset=call.window.offset,
        )
        return page_of(found, call.window, _body)

    async def list_layer_versions(self, call: ApiRequest[None]) -> Page[LayerBody]:
        layer = await self._layers.get(call.scope[0], call.params["name"])
        found = await self._layers.versions(
            layer.tenant, layer.name, limit=call.window.limit, offset=call.window.offset
        )
        return page_of(found, call.window, _body)

    async def list_layer_files(self, call: ApiRequest[None]) -> Page[LayerFileBody]:
        found = await self._layers.files(await self._read(call), limit=call.window.limit, offset=call.window.offset)
        return page_of(found, call.window, _file_body)

    async def list_layer_functions(self, call: ApiRequest[None]) -> Page[LayerUserBody]:
        layer = await self._read(call)
        found = await self._layers.users(
            layer.tenant, layer.name, _version(call), limit=call.window.limit, offset=call.window.offset
        )
        return page_of(found, call.window, _user_body)

    async def delete_layer(self, call: ApiRequest[None]) -> LayerDeleted:
        name, version = call.params["name"], _version(call)
        await self._layers.delete(call.scope[0], name, version)
        return LayerDeleted(status="deleted", name=name, version=version)

    async def _read(self, call: ApiRequest[None]) -> Layer:
        return await self._layers.get(call.scope[0], call.params["name"], _version(call))

    async def _publish(self, call: ApiRequest[Any], name: str, body: LayerPut) -> LayerBody:
        for runtime in body.runtimes:
            runtime_of(runtime)

        def unpack() -> tuple[dict[str, bytes], str]:
            files = files_of(files=body.files, archive=body.archive)
            return files, code_hash(files)

        files, digest = await anyio.to_thread.run_sync(unpack, limiter=_unpacking)
        layer, _ = await self._layers.publish(
            call.scope[0], name, files, digest=digest, description=body.description, runtimes=body.runtimes
        )
        return _body(layer)


def _version(call: ApiRequest[None]) -> int | None:
    text = call.query.get("version") or ""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) == 0:
        raise InvalidRequest("version must be a number above 0", field="version")
    return int(text)


def _body(layer: Layer) -> LayerBody:
    return LayerBody(
        name=layer.name,
        version=layer.version,
        hash=layer.hash,
        description=layer.description,
        runtimes=layer.runtimes,
        size_bytes=layer.size_bytes,
        files_count=layer.files_count,
        created_at=layer.created_at,
    )


def _file_body(file: LayerFile) -> LayerFileBody:
    return LayerFileBody(path=file.path, size_bytes=file.size_bytes)


def _user_body(user: LayerUser) -> LayerUserBody:
    return LayerUserBody(
        namespace=user.namespace,
        function=user.name,
        function_version=user.function_version or None,
        layer_version=user.layer_version,
    )
