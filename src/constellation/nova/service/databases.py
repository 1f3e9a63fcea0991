"""Databases of functions from a wish to a role on a server, and back.

The row is written first and the server second, so that a kill leaves a row that is not ready and can be deleted. A
deletion commits first what is to be taken down; that is then done, now or by `run` later.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError, InvalidRequest, NotFound
from constellation.base.statedir import make_private
from constellation.nova.domain.database import (
    DATABASE_PLACE,
    Access,
    Database,
    DatabaseLimits,
    DatabaseLogin,
    DatabaseNotReady,
    DatabaseRole,
    Networks,
    ServerAddress,
    check_limits,
    check_size,
    read_address,
    size_within,
)
from constellation.nova.domain.quota import Dimension
from constellation.nova.secrets.envelope import Place
from constellation.nova.secrets.vault import Vault
from constellation.nova.store.databases import Databases
from constellation.nova.store.embedded import PORT as OWN_PORT
from constellation.nova.store.embedded import SUPERUSER, EmbeddedPostgres
from constellation.nova.store.provision import Server
from constellation.nova.store.quotas import Quotas

log = structlog.get_logger()

OWN_DIR = "databases"  # in the state directory
SWEEP_S = 60.0  # chosen: nobody waits for what was deleted
SWEEP_BATCH = 50
_ROLE_HEX = 10  # bytes: names on a server say nothing of whose they are


class OwnServer(Protocol):
    """The platform's server for databases of functions."""

    async def address(self) -> ServerAddress:
        """Return its superuser's address; it runs when this returns. Raises `PostgresFailed` and the like."""
        ...


class EmbeddedServer:
    """A second embedded PostgreSQL, begun with the first database.

    It is not the platform's own: tables of locks, the queue of NOTIFY, transaction numbers and connections are a server's,
    and whoever may run SQL can use them up. Here that stops databases of functions, and not the platform.
    """

    def __init__(self, state_dir: Path, *, uid: int) -> None:
        self._state_dir = state_dir / OWN_DIR
        self._postgres = EmbeddedPostgres(
            self._state_dir, uid=uid, settings={"cluster_name": "constellation-databases"}
        )
        self._wanted, self._running = anyio.Event(), anyio.Event()
        self._lock = anyio.Lock()
        self._is_closed = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the server running from when it is wanted, at once when it has been before; until cancelled."""
        task_status.started()
        if not await to_thread.run_sync((self._state_dir / "postgres" / "data").exists):
            await self._wanted.wait()
        await self._postgres.watch()

    async def address(self) -> ServerAddress:
        """Return its superuser's address; it runs when this returns."""
        async with self._lock:
            await to_thread.run_sync(make_private, self._state_dir)
            await self._postgres.start()
            self._wanted.set()
            password = await to_thread.run_sync((self._state_dir / "postgres.password").read_text)
            address = ServerAddress(
                host=str(self._postgres.socket_dir),
                port=OWN_PORT,
                database="postgres",
                user=SUPERUSER,
                password=password.strip(),
            )
            if not self._is_closed:
                await Server(address, is_own=True).close_to_public()
                self._is_closed = True
            return address


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSizes:
    """How large databases of the platform's own server become."""

    default_mb: int = 1024
    max_mb: int = 10_240


class DatabaseKeeper:
    """Makes, bounds and takes down; knows the passwords for as long as it needs them."""

    def __init__(
        self,
        databases: Databases,
        vault: Vault,
        own: OwnServer | None,
        *,
        networks: Networks,
        own_per_tenant: int,
        sizes: OwnSizes,
        quotas: Quotas,
    ) -> None:
        """Hold what it works with.

        Args:
            own: None where the platform makes no databases itself.
            networks: that external servers may be in although this host is.
            own_per_tenant: how many databases a tenant may have on the platform's own server.
            sizes: of those.
            quotas: how large a tenant may have them.
        """
        self._databases, self._vault, self._own = databases, vault, own
        self._networks, self._own_per_tenant = networks, own_per_tenant
        self._sizes, self._quotas = sizes, quotas
        self._left = anyio.Event()

    async def create(
        self,
        *,
        tenant: str,
        namespace: str,
        name: str,
        access: Access | None,
        admin_secret: str | None,
        limits: DatabaseLimits,
    ) -> Database:
        """Make a database, or a role in one that is there.

        Raises:
            InvalidRequest: the secret is no address, or there is no server to make one on.
            QuotaExceeded: the tenant may not have one of that size.
            AlreadyExists, SecretUnknown, NotFound: as `Databases.create`.
            DatabaseServerRefused: nothing was made.
        """
        check_limits(limits)
        is_own = admin_secret is None
        check_size(limits, is_own=is_own, max_mb=self._sizes.max_mb)
        if is_own:
            limits = replace(limits, size_mb=await self._size_of(tenant, limits))
        suffix = secrets.token_hex(_ROLE_HEX)
        place = (tenant, namespace)
        if admin_secret is None:
            await self._check_own(tenant)
            database_name = f"fn_{suffix}"
        else:
            database_name = (await self._administrator(place, admin_secret)).database
        database = Database(
            tenant=tenant,
            namespace=namespace,
            name=name,
            access=access or (Access.CREATE if admin_secret is None else Access.WRITE),
            role=DatabaseRole(
                tenant=tenant,
                namespace=namespace,
                role_name=f"fn_{suffix}",
                database_name=database_name,
                admin_secret=admin_secret,
            ),
            limits=limits,
        )
        password = secrets.token_urlsafe(32)
        await self._databases.create(database, self._vault.seal(_place(database), password.encode()))
        try:
            server = await self._server(database.role)
            await server.make(database, password)
            is_kept = await self._databases.set_ready(database)
        except ConstellationError:
            await self._undo(database)
            raise
        if not is_kept:  # deleted meanwhile; its leftover is there, and may have been looked at too early
            self._left.set()
            raise NotFound("database", name)
        return await self._databases.get(tenant, namespace, name)

    async def update(self, database: Database, limits: DatabaseLimits) -> Database:
        """Write other limits; sessions that begin from now on have them. Raises as `create`, and `VersionConflict`."""
        check_limits(limits)
        if limits.size_mb != database.limits.size_mb:
            check_size(limits, is_own=database.is_own, max_mb=self._sizes.max_mb)
            await self._size_of(database.tenant, limits, before_mb=database.limits.size_mb or 0)
        changed = await self._databases.update(replace(database, limits=limits))
        await self.repair(changed)
        return changed

    async def repair(self, database: Database) -> None:
        """Have the role on the server as it should be. Raises `DatabaseServerRefused`."""
        server = await self._server(database.role)
        await server.limit(database, await self._password(database))

    async def own_server(self) -> Server:
        """Return the platform's own server; it runs when this returns. Raises `InvalidRequest`: there is none."""
        if self._own is None:
            raise _NO_OWN
        return Server(await self._own.address(), is_own=True)

    async def hold(self, database: Database) -> None:
        """Have functions read and delete in a database of our own and add nothing. Raises `DatabaseServerRefused`."""
        await (await self.own_server()).hold(database, await self._password(database))

    async def release(self, database: Database) -> None:
        """Have functions write again. Raises `DatabaseServerRefused`."""
        await (await self.own_server()).release(database, await self._password(database))

    async def delete(self, database: Database) -> None:
        """Delete a database; when its server can not be reached, that is tidied up later. Raises `DatabaseInUse`."""
        await self._databases.delete(database)
        await self._take_down(database.role)

    async def login(self, database: Database) -> DatabaseLogin:
        """Return what sessions of functions are opened with.

        Raises:
            DatabaseNotReady: its server does not have it.
        """
        if not database.is_ready:
            raise DatabaseNotReady(database.name)
        server = await self._address(database.role)
        role = database.role
        address = replace(
            server, database=role.database_name, user=role.role_name, password=await self._password(database)
        )
        return DatabaseLogin(name=database.name, address=address, limits=database.limits)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take down what is left of databases that went with their namespace, or whose server was away."""
        task_status.started()
        while True:
            self._left = anyio.Event()
            try:
                for role in await self._databases.leftovers(limit=SWEEP_BATCH):
                    await self._take_down(role)
            except ConstellationError as error:  # the supervision point: the next round tries again
                log.warning("databases.not_swept", reason=str(error))
            with anyio.move_on_after(SWEEP_S):
                await self._left.wait()

    async def _take_down(self, role: DatabaseRole) -> None:
        try:
            server = await self._server(role)
            is_gone = await server.take_down(role)
        except (NotFound, InvalidRequest):  # whoever deleted the administrator's secret keeps the role
            log.warning("database.role_left", role=role.role_name, reason="its administrator is not known any more")
        except ConstellationError as error:
            log.warning("database.not_taken_down", role=role.role_name, reason=str(error))
            return
        else:
            if not is_gone:
                log.warning("database.role_locked", role=role.role_name, reason="it owns things; nobody logs in as it")
        await self._databases.forget_leftover(role)

    async def _undo(self, database: Database) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self.delete(database)
            except ConstellationError as error:
                log.warning("database.not_undone", name=database.name, reason=str(error))

    async def _server(self, role: DatabaseRole) -> Server:
        address = await self._address(role)
        return Server(address, allowed=self._networks, is_own=role.admin_secret is None)

    async def _address(self, role: DatabaseRole) -> ServerAddress:
        if role.admin_secret is None:
            if self._own is None:
                raise _NO_OWN
            return await self._own.address()
        return await self._administrator((role.tenant, role.namespace), role.admin_secret)

    async def _administrator(self, scope: tuple[str, str], secret: str) -> ServerAddress:
        values = await self._vault.reveal(*scope, [secret])
        return read_address(values[secret])

    async def _password(self, database: Database) -> str:
        return self._vault.open(_place(database), await self._databases.sealed(database)).decode()

    async def _size_of(self, tenant: str, limits: DatabaseLimits, *, before_mb: int = 0) -> int:
        return size_within(
            limits.size_mb,
            usual_mb=min(self._sizes.default_mb, self._sizes.max_mb),
            most_mb=await self._quotas.value(tenant, Dimension.DATABASE_MB),
            before_mb=before_mb,
        )

    async def _check_own(self, tenant: str) -> None:
        if self._own is None:
            raise _NO_OWN
        if await self._databases.count_own(tenant) >= self._own_per_tenant:
            raise InvalidRequest(
                f"the tenant has {self._own_per_tenant} databases on the platform's server, which is the most "
                "(databases.per_tenant); name a server of your own with admin_secret",
                field="admin_secret",
            )


_NO_OWN = InvalidRequest(
    "the platform makes no databases here; name a server with admin_secret, a secret with the address of an administrator",
    field="admin_secret",
)


def _place(database: Database) -> Place:
    return database.tenant, database.namespace, f"{DATABASE_PLACE}{database.name}"
