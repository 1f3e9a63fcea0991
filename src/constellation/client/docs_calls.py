"""Docs of functions and links to them, as calls."""

from __future__ import annotations

from constellation.client.call import Call, call, page_call
from constellation.routes.models import docs as d
from constellation.routes.models import functions as f
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def get_docs(name: str) -> Call[d.DocsBody]:
    """What is written about a function."""
    return call("get_docs", d.DocsBody, params={"name": name})


def put_docs(name: str, content: str) -> Call[d.DocsBody]:
    """Write about a function."""
    return call("put_docs", d.DocsBody, params={"name": name}, body=d.DocsPut(content=content))


def delete_docs(name: str) -> Call[f.Deleted]:
    """Forget what is written about a function."""
    return call("delete_docs", f.Deleted, params={"name": name})


def create_share(name: str, share: d.ShareCreate) -> Call[d.ShareCreated]:
    """Make a link to the docs of a function; its path is told this once."""
    return call("create_share", d.ShareCreated, params={"name": name}, body=share)


def list_shares(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[d.ShareBody]]:
    """Links to the docs of a function, newest first."""
    return page_call("list_shares", d.ShareBody, page_size=page_size, params={"name": name})


def delete_share(name: str, share: str) -> Call[f.Deleted]:
    """Let a link show nothing any more."""
    return call("delete_share", f.Deleted, params={"name": name, "id": share})


def read_shared_docs(token: str) -> Call[d.SharedDocsBody]:
    """The docs that a link shows. `share_expired` (410) when its time is over."""
    return call("read_shared_docs", d.SharedDocsBody, params={"token": token})
