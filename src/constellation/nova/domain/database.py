"""Databases of a namespace: what they may be called, what sessions of functions may do, and how a function names one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qsl, unquote, urlsplit

from constellation.base.errors import ConstellationError, InvalidRequest
from constellation.nova.domain.network import NEVER
from constellation.nova.domain.quota import Dimension, QuotaExceeded
from constellation.nova.domain.uses import used_by

# A variable whose whole value is this and a name holds the address of that database's socket. The trigger of
# databases.sql's migration says it too.
REFERENCE = "$DATABASE:"
SOCKETS_DIR = "/run/db"  # in the sandbox: a directory a database, with a socket as clients of PostgreSQL look for it
SOCKET_NAME = ".s.PGSQL.5432"
_NEARLY, _NOT_NEARLY = 0.90, 0.85  # chosen: of the size; apart, so that one row more or less is no news
_NO_MORE_FULL = 0.95  # chosen: where what was full is written to again
MIN_SIZE_MB = 16  # an empty one has about 8
MAX_BOUND = 8  # chosen: databases of one function
DATABASE_PLACE = "database/"  # where its password is sealed for: no secret's name has a slash
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DEFAULT_PORT = 5432


class Fullness(StrEnum):
    """How much of its size a database has used up."""

    OK = "ok"
    NEARLY_FULL = "nearly_full"
    FULL = "full"  # functions read and delete, and add nothing


class Access(StrEnum):
    """What the role may do; each may what those before it may."""

    READ = "read"  # what is in the schema public
    WRITE = "write"  # and change it
    CREATE = "create"  # and make tables and schemas of its own


class Tls(StrEnum):
    """How the server is spoken to, in the words of libpq's sslmode."""

    DISABLE = "disable"
    REQUIRE = "require"  # whoever answers
    VERIFY_CA = "verify-ca"  # somebody whom an authority knows
    VERIFY_FULL = "verify-full"  # by this very name


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLimits:
    """What holds on the role, where it can be said there, and in the proxy, where no SET undoes it."""

    max_sessions: int = 20  # of all functions together: on the server, and on each comet
    instance_sessions: int = 5  # of one instance
    statement_timeout_s: float = 30.0
    idle_transaction_s: float = 60.0
    max_rows: int = 100_000  # that one statement gives back
    max_bytes: int = 64 << 20  # likewise
    statements_per_s: int = 1000  # of all functions on one comet; what is over it waits
    size_mb: int | None = None  # of all that is in it, on the platform's own server; None: it is another one


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRole:
    """Who the functions are on a server, and where."""

    tenant: str
    namespace: str
    role_name: str
    database_name: str
    admin_secret: str | None  # None: the platform's own server has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One row of `databases`, without its password."""

    tenant: str
    namespace: str
    name: str
    kind: str = "postgres"
    access: Access
    role: DatabaseRole
    limits: DatabaseLimits
    is_ready: bool = False
    size_bytes: int | None = None  # as it was measured last, on the platform's own server
    fullness: Fullness = Fullness.OK
    version: int = 1
    created_at: datetime | None = None  # both are None until the row is written
    updated_at: datetime | None = None
    functions: tuple[str, ...] = ()  # the first of those that use it, by name
    functions_count: int = 0

    @property
    def is_own(self) -> bool:
        """Did the platform make it, on its own server?"""
        return self.role.admin_secret is None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSize:
    """How large a database on the platform's own server may be, and is."""

    size_mb: int
    size_bytes: int | None  # as it was measured last
    fullness: Fullness

    @property
    def is_full(self) -> bool:
        return self.fullness is Fullness.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """A database on a server, and who logs in."""

    host: str  # beginning with "/": the directory of a unix socket
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    tls: Tls = Tls.DISABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLogin:
    """What comet gets to open sessions of one function with: never in the sandbox, never on disk."""

    name: str
    address: ServerAddress
    limits: DatabaseLimits


class DatabaseInUse(ConstellationError):
    """A function refers to the database, or a version that is kept of one, so it stays."""

    code, http_status = "database_in_use", 409

    def __init__(
        self,
        name: str,
        *,
        functions: tuple[str, ...],
        functions_count: int,
        versions: tuple[str, ...],
        versions_count: int,
    ) -> None:
        super().__init__(
            used_by(
                f"database {name!r}",
                functions=functions,
                functions_count=functions_count,
                versions=versions,
                versions_count=versions_count,
            ),
            extras={"name": name, "functions": list(functions), "versions": list(versions)},
        )


class DatabaseUnknown(ConstellationError):
    """A function refers to a database that its namespace does not have."""

    code, http_status = "database_unknown", 422

    def __init__(self, name: str = "", *, variable: str = "") -> None:
        whose = f"env {variable}: database {name!r}" if variable else "a database that env names"
        super().__init__(f"{whose} does not exist in this namespace; create it first (POST /databases)")
        self.extras = {"field": f"env.{variable}", "name": name} if variable else {"field": "env"}


class DatabaseNotReady(ConstellationError):
    """Its server never got it: what made it was cut off."""

    code, http_status = "database_not_ready", 409

    def __init__(self, name: str) -> None:
        super().__init__(f"database {name!r} is not on its server yet; if it stays so, delete it and create it again")


class DatabaseServerRefused(ConstellationError):
    """The server of a database can not be reached, or does not do what it is asked."""

    code, http_status = "database_server_refused", 502

    def __init__(self, *, doing: str, reason: str) -> None:
        super().__init__(f"the database server does not let us {doing}: {reason}")


def check_database_name(name: str, *, field: str = "name") -> str:
    """Return a database's name, or raise `InvalidRequest`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            f"database {name[:80]!r} must be 1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or digit",
            field=field,
        )
    return name


def check_limits(limits: DatabaseLimits) -> None:
    """Let limits through of which none makes another useless, or raise `InvalidRequest`."""
    if limits.instance_sessions > limits.max_sessions:
        raise InvalidRequest(
            f"instance_sessions {limits.instance_sessions} is over max_sessions {limits.max_sessions}",
            field="limits.instance_sessions",
        )


def check_size(limits: DatabaseLimits, *, is_own: bool, max_mb: int) -> None:
    """Let a size through that can be held, or raise `InvalidRequest`."""
    field = "limits.size_mb"
    if limits.size_mb is not None and not is_own:
        raise InvalidRequest(
            "only databases on the platform's own server have a size; this one is elsewhere", field=field
        )
    if limits.size_mb is not None and limits.size_mb > max_mb:
        raise InvalidRequest(
            f"size_mb {limits.size_mb} is over {max_mb}, which is the most (databases.max_size)", field=field
        )


def size_within(wanted_mb: int | None, *, usual_mb: int, most_mb: float | None, before_mb: int = 0) -> int:
    """Return the size of a database: what is wanted, else the usual one as far as its tenant may have that.

    Args:
        most_mb: what the tenant may have; None: any.
        before_mb: what the database had; what is above the limit may shrink.

    Raises:
        QuotaExceeded
    """
    most = usual_mb if most_mb is None else int(most_mb)
    size_mb = max(MIN_SIZE_MB, min(usual_mb, most)) if wanted_mb is None else wanted_mb
    if most_mb is not None and size_mb > most_mb and size_mb > before_mb:
        raise QuotaExceeded(Dimension.DATABASE_MB, used=size_mb, limit=most_mb)
    return size_mb


def fullness_of(size_bytes: int, size_mb: int, before: Fullness) -> Fullness:
    """Return how full a database is; what was full, or nearly so, has to shrink clearly."""
    used = size_bytes / (size_mb << 20)
    if used >= (_NO_MORE_FULL if before is Fullness.FULL else 1.0):
        return Fullness.FULL
    if used >= (_NEARLY if before is Fullness.OK else _NOT_NEARLY):
        return Fullness.NEARLY_FULL
    return Fullness.OK


def when_full(name: str, size: DatabaseSize) -> tuple[str, str]:
    """Return what a function is told that writes to a full database, and what can be done."""
    used = "" if size.size_bytes is None else f"{size.size_bytes >> 20} of "
    text = f"the database {name} is full ({used}{size.size_mb} MB): functions can read and delete, and add nothing"
    hint = (
        f"Delete rows: below {_NO_MORE_FULL:.0%} of its size, which is measured every few seconds, it is written to again. "
        f"Or let it be larger: orbit databases limit {name} --size-mb {2 * size.size_mb}"
    )
    return text, hint


def references(env: Mapping[str, str]) -> dict[str, str]:
    """Return which variables stand for which databases."""
    return {variable: value[len(REFERENCE) :] for variable, value in env.items() if value.startswith(REFERENCE)}


def check_references(env: Mapping[str, str]) -> None:
    """Let variables through whose references could name databases, or raise `InvalidRequest`."""
    found = references(env)
    if len(set(found.values())) > MAX_BOUND:
        raise InvalidRequest(f"env names more than {MAX_BOUND} databases", field="env")
    for variable, name in found.items():
        if _NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f'env {variable}: "{REFERENCE}" must be followed by the name of a database and nothing else',
                field="env",
            )


def resolved(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the addresses of the sockets that they stand for."""
    names = references(env)
    return {variable: guest_dsn(names[variable]) if variable in names else value for variable, value in env.items()}


def guest_dsn(name: str) -> str:
    """Return where a function finds a database: nothing of it is a credential."""
    return f"postgresql:///{name}?host={SOCKETS_DIR}/{name}"


def read_address(text: str) -> ServerAddress:
    """Return what an administrator's address says: `postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE[?sslmode=MODE]`.

    Raises:
        InvalidRequest: anything else; nothing of the text is repeated.
    """

    def refused(reason: str) -> InvalidRequest:
        return InvalidRequest(
            f"the secret must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE: {reason}",
            field="admin_secret",
        )

    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise refused("it is no address") from None
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres"):
        raise refused("it begins with another scheme")
    if not host or "/" in unquote(host) or "host" in options:
        raise refused("HOST must be a name or an address")
    if not parts.username or parts.password is None or not database:
        raise refused("USER, PASSWORD and DATABASE are needed")
    mode = options.pop("sslmode", Tls.REQUIRE.value)
    if mode not in set(Tls):
        raise refused(f"sslmode must be one of {', '.join(Tls)}; without it {Tls.REQUIRE.value} is meant")
    if options:
        raise refused("it has options other than sslmode")
    user, password = unquote(parts.username), unquote(parts.password)
    if any("\0" in part for part in (user, password, database)):
        raise refused("it holds a NUL")
    return ServerAddress(host=host, port=port, database=database, user=user, password=password, tls=Tls(mode))


Networks = tuple[IPv4Network | IPv6Network, ...]


def read_networks(text: str) -> Networks:
    """Return the networks of a list with commas. Raises `ValueError`."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def may_connect(address: str, allowed: Networks) -> bool:
    """Tell whether a server may be at an address: not on this host or its link, unless that is allowed."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed if network.version == ip.version):
        return True
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in NEVER)
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved)
