"""Servers for databases of functions in tests: the one of the run, reached as the platform's own or as somebody else's."""

from __future__ import annotations

from urllib.parse import quote

from constellation.nova.domain.database import ServerAddress
from constellation.nova.store.embedded import PORT, SUPERUSER
from constellation.testing.database import Server


class OwnServerOfTests:
    """Implements `OwnServer`: databases are made on the server of the run."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def address(self) -> ServerAddress:
        postgres = self._server.postgres
        password = postgres.superuser_dsn().partition("://")[2].partition(":")[2].partition("@")[0]
        return ServerAddress(
            host=str(postgres.socket_dir), port=PORT, database="postgres", user=SUPERUSER, password=password
        )


def administrator_dsn(address: ServerAddress, *, host: str, port: int, database: str) -> str:
    """Return what a secret with an administrator's address holds, of a server without TLS."""
    return f"postgresql://{quote(address.user)}:{quote(address.password, safe='')}@{host}:{port}/{database}?sslmode=disable"
