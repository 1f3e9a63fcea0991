"""The operations on versions, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from msgspec import UNSET

from constellation.client.call import Call, call, matching, page_call
from constellation.routes.models import canaries as c
from constellation.routes.models import functions as f
from constellation.routes.models import versions as v
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def list_versions(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[v.VersionSummary]]:
    """Versions of a function, newest first."""
    return page_call("list_versions", v.VersionSummary, page_size=page_size, params={"name": name})


def get_version(name: str, version: int) -> Call[v.VersionBody]:
    """One version, with its configuration."""
    return call("get_version", v.VersionBody, params=_of(name, version))


def get_version_code(name: str, version: int) -> Call[f.CodeBody]:
    """The code of a version."""
    return call("get_version_code", f.CodeBody, params=_of(name, version))


def diff_versions(name: str, version: int, other: int) -> Call[v.VersionDiff]:
    """What changed from `version` to `other`."""
    return call("diff_versions", v.VersionDiff, params={**_of(name, version), "other": str(other)})


def activate_version(name: str, version: int, *, if_match: str | None = None) -> Call[f.FunctionBody]:
    """Make a function what it was in a version."""
    return call("activate_version", f.FunctionBody, params=_of(name, version), headers=matching(if_match))


def delete_version(name: str, version: int) -> Call[f.Deleted]:
    """Delete a version. `state_conflict` (409) when something uses it."""
    return call("delete_version", f.Deleted, params=_of(name, version))


def rollback_function(name: str, *, version: int | None = None, if_match: str | None = None) -> Call[f.FunctionBody]:
    """Activate a version; that before the live one when none is given."""
    body = v.Rollback(version=UNSET if version is None else version)
    return call("rollback_function", f.FunctionBody, params={"name": name}, body=body, headers=matching(if_match))


def list_aliases(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[v.AliasBody]]:
    """Aliases of a function, by name."""
    return page_call("list_aliases", v.AliasBody, page_size=page_size, params={"name": name})


def get_alias(name: str, alias: str) -> Call[v.AliasBody]:
    """What an alias stands for."""
    return call("get_alias", v.AliasBody, params={"name": name, "alias": alias})


def put_alias(name: str, alias: str, wanted: v.AliasPut) -> Call[v.AliasBody]:
    """Have an alias, new or not, stand for versions."""
    return call("put_alias", v.AliasBody, params={"name": name, "alias": alias}, body=wanted)


def promote_alias(name: str, alias: str, *, version: int | None = None) -> Call[v.AliasBody]:
    """Give one version every call of an alias; the newest of its own when none is given."""
    body = v.AliasPromote(version=UNSET if version is None else version)
    return call("promote_alias", v.AliasBody, params={"name": name, "alias": alias}, body=body)


def delete_alias(name: str, alias: str) -> Call[f.Deleted]:
    """Delete an alias; its versions stay."""
    return call("delete_alias", f.Deleted, params={"name": name, "alias": alias})


def start_canary(name: str, canary: c.CanaryStart) -> Call[c.CanaryBody]:
    """Move an alias to another version in steps. `state_conflict` (409) while another canary of the function runs."""
    return call("start_canary", c.CanaryBody, params={"name": name}, body=canary)


def get_canary(name: str) -> Call[c.CanaryDetail]:
    """The newest canary of a function, and how its versions do."""
    return call("get_canary", c.CanaryDetail, params={"name": name})


def list_canaries(name: str, *, page_size: int = DEFAULT_LIMIT) -> Call[Page[c.CanaryBody]]:
    """Canaries of a function, newest first."""
    return page_call("list_canaries", c.CanaryBody, page_size=page_size, params={"name": name})


def promote_canary(name: str) -> Call[c.CanaryBody]:
    """Give the new version of the running canary every call now."""
    return call("promote_canary", c.CanaryBody, params={"name": name})


def cancel_canary(name: str) -> Call[c.CanaryBody]:
    """Give the old version of the running canary every call again."""
    return call("cancel_canary", c.CanaryBody, params={"name": name})


def _of(name: str, version: int) -> dict[str, str]:
    return {"name": name, "version": str(version)}
