"""The routes of the settings that can be set at run time."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.paging import Page
from constellation.routes.models.settings import SettingBody, SettingChangeBody, SettingPut, SettingRevert
from constellation.routes.route import PAGING, Query, nova

P = Permission
_SETTING = "/settings/{key}"
_OF = (
    Query(name="tenant", about="of this tenant instead of the platform; who is no platform administrator sees its own"),
)

SETTINGS = (
    nova("list_settings", "GET", "/settings", P.CONFIG_READ,
         "What can be set while the platform runs: meaning, range, value, and who set it",
         response=Page[SettingBody],
         query=(*PAGING, *_OF, Query(name="search", about="part of the key or of what it does"),
                Query(name="set", type="boolean", about="1: only what is set"))),
    nova("get_setting", "GET", _SETTING, P.CONFIG_READ, "One setting", response=SettingBody, query=_OF, has_tag=True),
    nova("put_setting", "PUT", _SETTING, P.CONFIG_WRITE,
         "Set a value on every plane, within a second; it wins over flags, environment and file",
         request=SettingPut, response=SettingBody, query=_OF, takes_match=True, has_tag=True),
    nova("unset_setting", "DELETE", _SETTING, P.CONFIG_WRITE, "Go back to what the planes are configured with",
         response=SettingBody, query=_OF, takes_match=True, has_tag=True),
    nova("list_setting_changes", "GET", f"{_SETTING}/history", P.CONFIG_READ,
         "Who set it to what, newest first; the last 200", response=Page[SettingChangeBody], query=(*PAGING, *_OF)),
    nova("revert_setting", "POST", f"{_SETTING}/revert", P.CONFIG_WRITE, "Set it to what it was at an earlier version",
         request=SettingRevert, response=SettingBody, query=_OF, takes_match=True, has_tag=True),
)  # fmt: skip
