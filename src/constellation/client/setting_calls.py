"""The operations on settings, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from constellation.client.call import Call, call, matching, page_call
from constellation.routes.models import settings as m
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def list_settings(
    *, tenant: str | None = None, search: str | None = None, is_set: bool = False, page_size: int = DEFAULT_LIMIT
) -> Call[Page[m.SettingBody]]:
    """What can be set while the platform runs, of a tenant or (None) of the platform."""
    query = {"tenant": tenant, "search": search, "set": True if is_set else None}
    return page_call("list_settings", m.SettingBody, page_size=page_size, query=query)


def get_setting(key: str, *, tenant: str | None = None) -> Call[m.SettingBody]:
    """One setting; an `ApiProblem` of 404 names the nearest key."""
    return call("get_setting", m.SettingBody, params={"key": key}, query={"tenant": tenant})


def put_setting(
    key: str,
    value: str,
    *,
    note: str = "",
    tenant: str | None = None,
    if_match: str | None = None,
) -> Call[m.SettingBody]:
    """Set a value, as the file has it, on every plane; `if_match`: only while it is at this version, in quotes."""
    return call(
        "put_setting",
        m.SettingBody,
        params={"key": key},
        query={"tenant": tenant},
        body=m.SettingPut(value=value, note=note),
        headers=matching(if_match),
    )


def unset_setting(key: str, *, tenant: str | None = None, if_match: str | None = None) -> Call[m.SettingBody]:
    """Go back to what the planes are configured with."""
    query, headers = {"tenant": tenant}, matching(if_match)
    return call("unset_setting", m.SettingBody, params={"key": key}, query=query, headers=headers)


def list_setting_changes(
    key: str, *, tenant: str | None = None, page_size: int = DEFAULT_LIMIT
) -> Call[Page[m.SettingChangeBody]]:
    """Who set it to what, newest first."""
    params, query = {"key": key}, {"tenant": tenant}
    return page_call("list_setting_changes", m.SettingChangeBody, page_size=page_size, params=params, query=query)


def revert_setting(
    key: str, version: int, *, note: str = "", tenant: str | None = None, if_match: str | None = None
) -> Call[m.SettingBody]:
    """Set it to what it was at a version; 0: before the first change."""
    return call(
        "revert_setting",
        m.SettingBody,
        params={"key": key},
        query={"tenant": tenant},
        body=m.SettingRevert(version=version, note=note),
        headers=matching(if_match),
    )
