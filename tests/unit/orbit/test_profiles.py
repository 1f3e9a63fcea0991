"""Where settings come from, and the file that keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from constellation.orbit import profiles
from constellation.orbit.failures import OrbitError
from constellation.orbit.profiles import Profiles, load, resolve, save

STORED = Profiles(entries={"default": {"server": "http://file", "tenant": "file"}, "prod": {"server": "http://prod"}})


def test_flags_win_over_environment_over_profile_over_default():
    env = {"ZENITH_URL": "http://env", "NOVA_TENANT": "env"}
    found = resolve(flags={"server": "http://flag"}, env=env, profiles=STORED)
    assert (found["server"].value, found["server"].source) == ("http://flag", "flag")
    assert (found["tenant"].value, found["tenant"].source) == ("env", "NOVA_TENANT")
    assert (found["output"].value, found["output"].source) == ("table", "default")
    assert "api_key" not in found
    assert resolve(flags={}, env={}, profiles=STORED)["tenant"].source == "profile default"


def test_namespace_does_not_follow_to_a_tenant_that_was_named_more_strongly():
    env = {"NOVA_NAMESPACE": "blue", "NOVA_TENANT": "acme"}
    assert resolve(flags={}, env=env, profiles=Profiles())["namespace"].value == "blue"
    assert "namespace" not in resolve(flags={"tenant": "other"}, env=env, profiles=Profiles())
    both = {"tenant": "other", "namespace": "red"}
    assert resolve(flags=both, env=env, profiles=Profiles())["namespace"].value == "red"
    assert resolve(flags={"namespace": "red"}, env=env, profiles=Profiles())["tenant"].value == "acme"


def test_profile_is_chosen_by_flag_then_environment_then_file():
    assert resolve(flags={}, env={}, profiles=STORED, profile="prod")["server"].value == "http://prod"
    assert resolve(flags={}, env={"ORBIT_PROFILE": "prod"}, profiles=STORED)["server"].value == "http://prod"
    with pytest.raises(OrbitError) as caught:
        resolve(flags={}, env={}, profiles=STORED, profile="prd")
    assert "prod" in caught.value.hint


def test_empty_environment_variable_is_an_absent_one():
    assert resolve(flags={}, env={"ZENITH_URL": ""}, profiles=Profiles())["server"].source == "default"


@pytest.mark.parametrize("value", ['a"b', "back\\slash", "caf\u00e9", "new\nline", "tab\t", "#no = comment"])
def test_file_gives_back_what_was_saved(tmp_path, value):
    path = tmp_path / "deep" / "config.toml"
    stored = Profiles(current="we ird", entries={"we ird": {"tenant": value}, "b": {}})
    save(path, stored)
    assert load(path) == stored
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    ["not toml", "servr = 1", "current = 1", "[profiles]\na = 1", "[profiles.a]\nserver = 1", "[profiles.a]\nx = ''"],
)
def test_file_that_is_wrong_is_told_with_its_path(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(OrbitError):
        load(path)


def test_config_path_follows_the_environment():
    home = Path("/home/ada")
    assert profiles.config_path({}, home) == Path("/home/ada/.config/orbit/config.toml")
    assert profiles.config_path({"XDG_CONFIG_HOME": "/x"}, home) == Path("/x/orbit/config.toml")
    assert profiles.config_path({"ORBIT_CONFIG": "/y.toml"}, home) == Path("/y.toml")


def test_config_command_keeps_profiles_and_hides_keys(fake):
    assert fake.run("config", "set", "server", "http://one").code == 0
    assert fake.run("config", "set", "api_key", "-", stdin="sk_verysecret\n").code == 0
    assert fake.run("config", "set", "--profile", "two", "server", "http://two").code == 0
    shown = fake.run("config", "show")
    assert "http://one" in shown.out
    assert "verysecret" not in shown.out + shown.err
    assert fake.run("config", "use", "two").code == 0
    assert {"key": "server", "value": "http://two", "source": "profile two"} in fake.run(
        "config", "show", "-o", "json"
    ).json
    assert [profile["name"] for profile in fake.run("config", "list", "-o", "json").json] == ["default", "two"]
    assert fake.run("config", "unset", "server").code == 0
    assert "localhost" in fake.run("config", "show").out
    assert fake.run("config", "use", "tow").code == 2
    assert "default.api_key" not in fake.run("config", "path").out
