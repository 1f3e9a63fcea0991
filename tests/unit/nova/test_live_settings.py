"""Settings in force: what was set over what was configured, and what is refused."""

from __future__ import annotations

import pytest

from constellation.nova.config.live import (
    PLATFORM,
    InForce,
    SettingInvalid,
    SettingUnknown,
    known,
    known_keys,
    rows_with,
    value_of,
)
from constellation.nova.config.load import Loaded, load
from constellation.nova.config.sections import BuildSettings, Settings


def in_force(**sections: object) -> InForce:
    return InForce(Loaded(settings=Settings(**sections)))  # type: ignore[arg-type]  # sections by name


def test_every_key_is_one_of_the_configuration_and_its_default_reads_back():
    for key, setting in known_keys().items():
        assert setting.parse(setting.default) == value_of(Settings(), key), key


def test_a_tenants_value_wins_over_the_platforms_and_that_over_the_configured_one():
    held = in_force(builds=BuildSettings(timeout_s=100.0))
    assert held.of("acme").builds.timeout_s == 100.0
    held.take({PLATFORM: {"builds.timeout": "2m"}, "acme": {"builds.timeout": "3m"}})
    assert held.settings.builds.timeout_s == 120.0
    assert held.of("other").builds.timeout_s == 120.0
    assert held.of("acme").builds.timeout_s == 180.0
    held.take({PLATFORM: {"builds.memory": "1GiB"}})
    assert held.of("acme").builds == BuildSettings(timeout_s=100.0, memory_bytes=1 << 30)


def test_a_tenant_has_no_value_of_what_is_the_platforms():
    held = in_force()
    held.take({"acme": {"audit.retention_days": "3", "state.max_keys": "7"}})
    assert held.of("acme").audit.retention_days == 90
    assert held.of("acme").state.max_keys == 7


def test_what_this_release_does_not_know_or_can_not_read_is_left_out():
    held = in_force()
    held.take({PLATFORM: {"builds.colour": "blue", "builds.timeout": "soon", "state.max_keys": "5"}})
    assert held.settings.builds == BuildSettings()
    assert held.settings.state.max_keys == 5


def test_watchers_are_told_of_changes_only():
    held, told = in_force(), []
    held.watch(lambda settings: told.append(settings.platform.log_level))
    held.take({PLATFORM: {"platform.log_level": "debug"}})
    held.take({PLATFORM: {"platform.log_level": "debug"}})
    held.take({})
    assert told == ["debug", "info"]


def test_a_wrong_key_is_told_the_nearest():
    with pytest.raises(SettingUnknown) as refused:
        known("builds.time_out")
    assert "builds.timeout" in str(refused.value)
    with pytest.raises(SettingUnknown):
        known("postgres.dsn")  # a key of the configuration, read at a start


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("builds.timeout", "0s"),
        ("builds.timeout", "25h"),
        ("builds.timeout", 30),
        ("builds.memory", "lots"),
        ("state.max_keys", "1e3"),
        ("state.max_keys", True),
        ("state.max_keys", 0),
        ("platform.log_level", "loud"),
        ("prices.call", "nan"),
        ("prices.call", -1),
    ],
)
def test_values_of_the_wrong_kind_or_out_of_range_are_refused(key, value):
    with pytest.raises(SettingInvalid) as refused:
        known(key).parse(value)
    assert refused.value.http_status == 422
    assert key in str(refused.value)


def test_config_show_says_what_was_set_at_run_time_and_of_whom():
    loaded = load(file=None, env={"NOVA_BUILDS_TIMEOUT": "90s"}, flags={"platform.log_level": "warning"})
    before = {key: (value, source) for key, value, source in rows_with(loaded, {})}
    assert before["builds.timeout"] == ("90s", "env NOVA_BUILDS_TIMEOUT")
    assert before["platform.log_level"] == ("warning", "flag")
    values = {PLATFORM: {"builds.timeout": "120s", "platform.log_level": "debug"}, "acme": {"builds.timeout": "4m"}}
    after = rows_with(loaded, values)
    assert ("builds.timeout", "2m", "run time") in after
    assert ("platform.log_level", "debug", "run time") in after
    assert ("builds.timeout", "4m", "run time, of tenant acme") in after
    assert sum(key == "builds.timeout" for key, _, _ in after) == 2
