"""TLS in the configuration: groups within sections, wrong keys named by their whole path, no key ever shown."""

from __future__ import annotations

import json

import pytest

from constellation.nova.config.load import ConfigInvalid, load, rows
from constellation.nova.config.tls import HostCertificate

CERT = {"cert": "/etc/c.pem", "key": "/etc/c.key"}


@pytest.fixture
def configured(tmp_path):
    def loaded(tree, env=None, flags=None):
        file = tmp_path / "nova.json"
        file.write_text(json.dumps(tree))
        return load(file=file, env=env or {}, flags=flags)

    return loaded


def test_without_a_word_nobody_speaks_tls(configured):
    settings = configured({}).settings
    groups = (settings.zenith.tls, settings.comet.tls)
    callers = (settings.zenith.comet_tls, settings.corona.comet_tls, settings.queue.comet_tls)
    assert not any(group.is_on for group in (*groups, *callers))


def test_groups_are_read_from_file_environment_and_flags(configured):
    hosts = {"api.example.org": CERT, "*.example.net": {"cert": "/n.pem", "key": "/n.key"}}
    loaded = configured(
        {"zenith": {"tls": {**CERT, "hosts": hosts}}, "queue": {"comet_tls": {"ca": "/file-ca.pem"}}},
        env={
            "NOVA_QUEUE_COMET_TLS_CA": "/env-ca.pem",
            "NOVA_COMET_TLS_CERT": "/e.pem",
            "NOVA_COMET_TLS_KEY": "/e.key",
            "NOVA_ZENITH_COMET_TLS_CA": "system",
        },
        flags={"comet.tls.client_ca": "/flag-ca.pem"},
    )
    settings = loaded.settings
    assert settings.zenith.tls.hosts == (
        HostCertificate(host="api.example.org", **CERT),
        HostCertificate(host="*.example.net", cert="/n.pem", key="/n.key"),
    )
    assert settings.queue.comet_tls.ca == "/env-ca.pem"
    assert (settings.comet.tls.cert, settings.comet.tls.client_ca) == ("/e.pem", "/flag-ca.pem")
    assert settings.zenith.comet_tls.ca == "system"
    shown = {path: (value, source) for path, value, source in rows(loaded)}
    assert shown["zenith.tls.cert"] == ("/etc/c.pem", "file")
    assert shown["zenith.tls.hosts"] == ("api.example.org: /etc/c.pem, *.example.net: /n.pem", "file")
    assert shown["comet.tls.client_ca"] == ("/flag-ca.pem", "flag")
    assert shown["queue.comet_tls.ca"] == ("/env-ca.pem", "env NOVA_QUEUE_COMET_TLS_CA")
    assert shown["corona.comet_tls.ca"] == ("", "default")


@pytest.mark.parametrize(
    ("tree", "path", "reason"),
    [
        ({"zenith": {"tls": "on"}}, "zenith.tls", "object"),
        ({"zenith": {"tsl": {}}}, "zenith.tsl", "'tls'"),
        ({"zenith": {"tls": {"certificate": "/x"}}}, "zenith.tls.certificate", "'cert'"),
        ({"zenith": {"tls": {"cert": "/x"}}}, "zenith.tls.key", "missing"),
        ({"comet": {"tls": {"key": "/x"}}}, "comet.tls.cert", "missing"),
        ({"comet": {"tls": {"client_ca": "/x"}}}, "comet.tls.client_ca", "cert and key"),
        ({"zenith": {"tls": {"hosts": {"a.org": CERT}}}}, "zenith.tls.cert", "missing"),
        ({"zenith": {"tls": {**CERT, "hosts": {"A.org": CERT}}}}, "zenith.tls.hosts", "lower case"),
        ({"zenith": {"tls": {**CERT, "hosts": {"a.*.org": CERT}}}}, "zenith.tls.hosts", "'a.*.org'"),
        ({"zenith": {"tls": {**CERT, "hosts": {"a.org": {"cert": "/x"}}}}}, "zenith.tls.hosts", "a.org"),
        ({"zenith": {"tls": {**CERT, "hosts": [1]}}}, "zenith.tls.hosts", "object"),
        ({"zenith": {"tls": {"cert": "c.pem", "key": "/k"}}}, "zenith.tls.cert", "absolute"),
        ({"corona": {"comet_tls": {"server_name": "comet"}}}, "corona.comet_tls.ca", "missing"),
        ({"queue": {"comet_tls": {"ca": "system", "cert": "/x"}}}, "queue.comet_tls.key", "missing"),
        ({"queue": {"comet_tls": {"ca": "everybody"}}}, "queue.comet_tls.ca", "absolute"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_path(configured, tree, path, reason):
    with pytest.raises(ConfigInvalid) as refused:
        configured(tree)
    assert refused.value.path == path
    assert reason in str(refused.value)


def test_a_key_given_instead_of_its_path_is_not_repeated(configured):
    pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ConfigInvalid) as refused:
        configured({"zenith": {"tls": {"cert": "/c.pem", "key": pem}}})
    assert "c2VjcmV0" not in str(refused.value)


def test_a_file_for_the_key_is_not_read_as_its_path(configured, tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("/elsewhere")
    settings = configured({}, env={"NOVA_ZENITH_TLS_KEY_FILE": str(key)}).settings
    assert settings.zenith.tls.key == ""
