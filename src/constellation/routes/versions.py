"""The routes of versions and of the aliases under which they are called."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models import canaries as c
from constellation.routes.models import functions as f
from constellation.routes.models import versions as v
from constellation.routes.models.paging import Page
from constellation.routes.route import FUNCTION, PAGING, Route, nova

_VERSIONS, _ALIASES = FUNCTION + "/versions", FUNCTION + "/aliases"
_READ, _UPDATE = Permission.FUNCTION_READ, Permission.FUNCTION_UPDATE

VERSIONS: tuple[Route, ...] = (
    nova("list_versions", "GET", _VERSIONS, _READ, "Versions of a function, newest first",
         response=Page[v.VersionSummary], query=PAGING),
    nova("get_version", "GET", _VERSIONS + "/{version}", _READ, "One version, with its configuration",
         response=v.VersionBody),
    nova("get_version_code", "GET", _VERSIONS + "/{version}/code", _READ, "The code of a version",
         response=f.CodeBody),
    nova("diff_versions", "GET", _VERSIONS + "/{version}/diff/{other}", _READ,
         "What another version has that this one has not, and the other way round", response=v.VersionDiff),
    nova("activate_version", "POST", _VERSIONS + "/{version}/activate", _UPDATE,
         "Make a function what it was in a version; code that waits for its build is given up",
         response=f.FunctionBody, takes_match=True, has_tag=True),
    nova("delete_version", "DELETE", _VERSIONS + "/{version}", _UPDATE, "Delete a version that nothing uses",
         response=f.Deleted),
    nova("rollback_function", "POST", FUNCTION + "/rollback", _UPDATE,
         "Activate a version: that of the body, or the one before the live one", request=v.Rollback,
         response=f.FunctionBody, takes_match=True, has_tag=True),
    nova("list_aliases", "GET", _ALIASES, _READ, "Aliases of a function, by name", response=Page[v.AliasBody],
         query=PAGING),
    nova("get_alias", "GET", _ALIASES + "/{alias}", _READ, "What an alias stands for", response=v.AliasBody),
    nova("put_alias", "PUT", _ALIASES + "/{alias}", _UPDATE, "Have an alias, new or not, stand for versions",
         request=v.AliasPut, response=v.AliasBody),
    nova("promote_alias", "POST", _ALIASES + "/{alias}/promote", _UPDATE, "Give one version every call of an alias",
         request=v.AliasPromote, response=v.AliasBody),
    nova("delete_alias", "DELETE", _ALIASES + "/{alias}", _UPDATE, "Delete an alias; its versions stay",
         response=f.Deleted),
    nova("start_canary", "POST", FUNCTION + "/canary", _UPDATE,
         "Move an alias to another version in steps, and back when that one does worse", status=201,
         request=c.CanaryStart, response=c.CanaryBody),
    nova("get_canary", "GET", FUNCTION + "/canary", _READ, "The newest canary, and how its versions do",
         response=c.CanaryDetail),
    nova("list_canaries", "GET", FUNCTION + "/canaries", _READ, "Canaries, newest first",
         response=Page[c.CanaryBody], query=PAGING),
    nova("promote_canary", "POST", FUNCTION + "/canary/promote", _UPDATE,
         "Give the new version of the running canary every call now", response=c.CanaryBody),
    nova("cancel_canary", "POST", FUNCTION + "/canary/cancel", _UPDATE,
         "Give the old version of the running canary every call again", response=c.CanaryBody),
)  # fmt: skip
