"""Which hosts builds may reach."""

from __future__ import annotations

import pytest

from constellation.comet.builds.sources import sources_of
from constellation.nova.config.packages import PackageSettings
from constellation.nova.config.sections import BuildSettings
from constellation.nova.config.tls import KeyFault


def test_the_defaults_are_the_public_registries():
    sources = sources_of(BuildSettings())
    assert sources.pip.endpoints == {("pypi.org", 443), ("files.pythonhosted.org", 443)}
    assert sources.cargo.endpoints == {("index.crates.io", 443), ("static.crates.io", 443), ("crates.io", 443)}


def test_ports_come_from_the_url_or_its_scheme():
    told = PackageSettings(npm="http://mirror.local:4873/npm", npm_hosts="cdn.local, Other.local:8443")
    sources = sources_of(BuildSettings(sources=told))
    assert sources.npm.endpoints == {("mirror.local", 4873), ("cdn.local", 80), ("other.local", 8443)}
    assert sources.env()["npm_config_registry"] == "http://mirror.local:4873/npm"


def test_an_empty_url_is_no_source():
    sources = sources_of(BuildSettings(sources=PackageSettings(go="", go_hosts="sum.golang.org")))
    assert sources.go.endpoints == frozenset()
    assert sources.env()["GOPROXY"] == "off"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pip", "ftp://a/"),
        ("pip", "pypi.org"),
        ("pip", "https://user:word@pypi.org/simple"),
        ("npm", "https://a b/"),
        ("go_hosts", "a b"),
        ("go_hosts", "https://a"),
        ("go_hosts", "*"),
    ],
)
def test_what_is_no_address_is_refused_by_its_key(key, value):
    with pytest.raises(KeyFault) as caught:
        PackageSettings(**{key: value})
    assert caught.value.key == key
