from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from constellation.nova.store.configuration import render
from constellation.nova.store.embedded import SOCKET_PATH_LIMIT_BYTES, EmbeddedPostgres
from constellation.nova.store.pool import with_credentials
from constellation.nova.store.roles import PLANES, role_of, roles_sql, verifier_of


def test_another_role_keeps_the_place_and_the_options() -> None:
    dsn = "postgresql://owner:s%40cret@db.example:6432/app?sslmode=verify-full&user=x&password=y"
    changed = urlsplit(with_credentials(dsn, "app_comet", "p@ss/word"))
    assert (changed.hostname, changed.port, changed.path) == ("db.example", 6432, "/app")
    assert (unquote(changed.username or ""), unquote(changed.password or "")) == ("app_comet", "p@ss/word")
    assert parse_qs(changed.query) == {"sslmode": ["verify-full"]}


def test_a_socket_directory_survives_the_change_of_role() -> None:
    changed = urlsplit(with_credentials("postgresql://o:p@/db?host=/run/x y&port=5432", "r", "q"))
    assert parse_qs(changed.query) == {"host": ["/run/x y"], "port": ["5432"]}


def test_a_long_state_directory_gets_a_short_socket() -> None:
    short = EmbeddedPostgres(Path("/var/lib/constellation"))
    assert short.socket_dir == Path("/var/lib/constellation/postgres/socket")
    deep = EmbeddedPostgres(Path("/", *["deep"] * 30), runtime_dir=Path("/run/user/1000"))
    assert len(str(deep.socket_dir / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT_BYTES
    assert deep.socket_dir != EmbeddedPostgres(Path("/", *["deep"] * 31)).socket_dir


def test_the_administrators_sql_holds_verifiers_and_no_password() -> None:
    passwords = {plane: f"secret-{plane}" for plane in PLANES}
    text = roles_sql(passwords, prefix="acme")
    for plane in PLANES:
        assert f"CREATE ROLE acme_{plane} LOGIN PASSWORD 'SCRAM-SHA-256$4096:" in text
    assert "secret-" not in text


def test_verifiers_are_salted() -> None:
    assert verifier_of("p") != verifier_of("p")


@pytest.mark.parametrize("prefix", ["", "Acme", "1a", 'a"; DROP ROLE x', "a" * 40])
def test_a_role_prefix_is_a_plain_identifier(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        role_of("nova", prefix=prefix)


def test_settings_are_quoted() -> None:
    assert render({"cluster_name": "it's"}) == "cluster_name = 'it''s'\n"
