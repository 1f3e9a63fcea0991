"""Docs of functions, and links to them."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import docs as d
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.route import FUNCTION, PAGING, Route, nova

P = Permission
_DOCS = FUNCTION + "/docs"

DOCS: tuple[Route, ...] = (
    nova("get_docs", "GET", _DOCS, P.FUNCTION_READ, "What is written about a function", response=d.DocsBody),
    nova("put_docs", "PUT", _DOCS, P.FUNCTION_UPDATE, "Write about a function", request=d.DocsPut, response=d.DocsBody,
         max_body_bytes=2 << 20),
    nova("delete_docs", "DELETE", _DOCS, P.FUNCTION_UPDATE, "Forget what is written about a function", response=Deleted),
    nova("create_share", "POST", _DOCS + "/shares", P.FUNCTION_UPDATE,
         "Make a link under which anybody reads the docs of a function; its path is shown this once", status=201,
         request=d.ShareCreate, response=d.ShareCreated),
    nova("list_shares", "GET", _DOCS + "/shares", P.FUNCTION_READ, "Links to the docs of a function, newest first",
         response=Page[d.ShareBody], query=PAGING),
    nova("delete_share", "DELETE", _DOCS + "/shares/{id}", P.FUNCTION_UPDATE, "Let a link show nothing any more",
         response=Deleted),
    nova("read_shared_docs", "GET", "/shared-docs/{token}", P.PUBLIC, "The docs that a link shows",
         response=d.SharedDocsBody),
)  # fmt: skip
