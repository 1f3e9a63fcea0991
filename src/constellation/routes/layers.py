"""The routes of layers."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.layers import (
    LayerBody,
    LayerCreate,
    LayerDeleted,
    LayerFileBody,
    LayerPut,
    LayerUserBody,
)
from constellation.routes.models.paging import Page
from constellation.routes.route import PAGING, Query, Route, nova

P = Permission
_LAYER = "/layers/{name}"
_BODY_BYTES = 30 << 20  # an archive of 20 MiB in base64, and more
_VERSION = Query(name="version", about="a number; the newest when it is left out")

LAYERS: tuple[Route, ...] = (
    nova("create_layer", "POST", "/layers", P.LAYER_MANAGE, "Keep the first version of a layer", status=201,
            request=LayerCreate, response=LayerBody, max_body_bytes=_BODY_BYTES),
    nova("put_layer", "PUT", _LAYER, P.LAYER_MANAGE,
            "Keep a new version of a layer; what equals the newest one makes none", request=LayerPut, response=LayerBody,
            max_body_bytes=_BODY_BYTES),
    nova("list_layers", "GET", "/layers", P.LAYER_READ, "The layers of the tenant by name, each in its newest version",
            response=Page[LayerBody],
            query=(*PAGING, Query(name="search", about="part of the name"),
                   Query(name="runtime", about="only those that functions of it may use"))),
    nova("get_layer", "GET", _LAYER, P.LAYER_READ, "One version of a layer", response=LayerBody, query=(_VERSION,)),
    nova("list_layer_versions", "GET", f"{_LAYER}/versions", P.LAYER_READ, "The versions of a layer, newest first",
            response=Page[LayerBody], query=PAGING),
    nova("list_layer_files", "GET", f"{_LAYER}/files", P.LAYER_READ, "The files of a version, by path",
            response=Page[LayerFileBody], query=(*PAGING, _VERSION)),
    nova("list_layer_functions", "GET", f"{_LAYER}/functions", P.LAYER_READ,
            "Functions, and versions of them that are kept, that use a layer", response=Page[LayerUserBody],
            query=(*PAGING, Query(name="version", about="only what uses this one"))),
    nova("delete_layer", "DELETE", _LAYER, P.LAYER_MANAGE, "Delete a layer, or one version of it, that nothing uses",
            response=LayerDeleted, query=(Query(name="version", about="only this one; all of them when it is left out"),)),
)  # fmt: skip
