"""The control plane's app on a real socket, over a real database, as the role that nova has there."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import anyio
import httpx
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.clock import SystemClock
from constellation.nova.ai.endpoint import Endpoint
from constellation.nova.api.changes import ChangeFeed
from constellation.nova.api.notification_feed import NotificationFeed
from constellation.nova.app import control_app
from constellation.nova.config.issuers import issuers_of
from constellation.nova.config.live import InForce
from constellation.nova.config.load import Loaded
from constellation.nova.config.sections import AuthSettings, BuildSettings, Settings
from constellation.nova.domain.access import ANY, Role
from constellation.nova.domain.database import read_networks
from constellation.nova.domain.grants import Principal
from constellation.nova.domain.identity import identity_of, mint
from constellation.nova.secrets.vault import Vault, open_vault
from constellation.nova.service.databases import DatabaseKeeper, OwnSizes
from constellation.nova.service.notices import NoticeKeeper
from constellation.nova.store.changes import CHANNEL, Changes
from constellation.nova.store.databases import Databases
from constellation.nova.store.listen import Listener
from constellation.nova.store.notifications import CHANNEL as NOTIFICATIONS
from constellation.nova.store.notifications import OUTBOX, Notifications
from constellation.nova.store.pool import connect
from constellation.nova.store.quotas import Quotas
from constellation.nova.store.secrets import Secrets
from constellation.nova.store.settings import CHANNEL as SETTINGS
from constellation.nova.store.settings import SettingsFollower, SetValues
from constellation.rpc.caller import CallerVerifier
from constellation.rpc.http import serving_http
from constellation.testing.databases import OwnServerOfTests

SERVICE_TOKEN = "service-token-of-the-tests"
IDENTITY_KEY = b"identity-key-of-the-tests"
MAX_BODY_BYTES = 32 << 20
PING_S = 0.2
ISSUER_SECRET = "the issuer's secret of more than 32 bytes"
BUILD_FILE = "build.sh"  # sources that have it must be built


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A client, and headers for whoever is to call."""

    http: httpx.AsyncClient
    vault: Vault
    keeper: DatabaseKeeper
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def service(self) -> dict[str, str]:
        return {"authorization": f"Bearer {SERVICE_TOKEN}"}

    def admin(self, tenant: str = "default", namespace: str = "default") -> dict[str, str]:
        """A platform administrator in a scope."""
        return self.caller(tenant, namespace, Principal.with_role(Role.ADMIN, subject="t", tenant=ANY, namespace=ANY))

    def member(
        self, tenant: str, namespace: str = "default", *, role: Role = Role.ADMIN, bound: bool = False
    ) -> dict[str, str]:
        """Somebody of one tenant; `bound` to one namespace of it."""
        return self.caller(
            tenant,
            namespace,
            Principal.with_role(role, subject="t", tenant=tenant, namespace=namespace if bound else ANY),
        )

    def caller(self, tenant: str, namespace: str, principal: Principal) -> dict[str, str]:
        identity = identity_of(principal, tenant=tenant, namespace=namespace, now_s=time.time())
        return {**self.service(), "nova-identity": mint(IDENTITY_KEY, identity)}

    async def deploy(self, name: str, headers: dict[str, str] | None = None, **more: object) -> dict[str, object]:
        body = {"name": name, "runtime": "python", "code": "def handler(event, context):\n    return event\n", **more}
        answer = await self.http.post("/functions", json=body, headers=headers or self.admin())
        assert answer.status_code == 201, answer.text
        created: dict[str, object] = answer.json()
        return created


@pytest.fixture
def auth() -> AuthSettings:
    """How people log in, besides what all tests have."""
    return AuthSettings()


@pytest.fixture
async def nova(database, tmp_path, auth) -> AsyncIterator[Rig]:
    registry = CollectorRegistry()
    clock = SystemClock()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    dsn = database.dsn("nova")
    (tmp_path / "issuer.secret").write_text(ISSUER_SECRET)
    issuer = {
        "issuer": "https://id.example.org",
        "audience": "constellation",
        "algorithms": ["HS256"],
        "secret": str(tmp_path / "issuer.secret"),
        "tenant_claim": "tenant",
    }
    async with connect(dsn, application="nova", min_size=0, max_size=8) as db, anyio.create_task_group() as tasks:
        wakeups = Listener(dsn, application="nova", channels=(CHANNEL, SETTINGS, OUTBOX, NOTIFICATIONS))
        feed = ChangeFeed(Changes(db), wakeups=wakeups, ping_s=PING_S)
        await tasks.start(wakeups.run)
        await tasks.start(feed.run)
        settings = Settings(
            builds=BuildSettings(queue_depth=2), auth=replace(auth, issuers=issuers_of({"corp": issuer}))
        )
        in_force = InForce(Loaded(settings=settings))
        await tasks.start(SettingsFollower(SetValues(db), in_force).run, wakeups.subscribe(SETTINGS))
        told, endpoint = Notifications(db), Endpoint()
        news = NotificationFeed(told, wakeups, now_s=clock.monotonic_s, ping_s=PING_S)
        await tasks.start(NoticeKeeper(told).run, wakeups.subscribe(OUTBOX))
        vault = await open_vault(Secrets(db), state_dir=tmp_path, configured="", resealed=told.tell_resealed)
        await tasks.start(vault.run)
        keeper = DatabaseKeeper(
            Databases(db),
            vault,
            OwnServerOfTests(database.server),
            networks=read_networks("127.0.0.0/8"),
            own_per_tenant=2,
            sizes=OwnSizes(default_mb=64, max_mb=128),
            quotas=Quotas(db),
        )
        app = await control_app(
            db,
            vault=vault,
            keeper=keeper,
            feed=feed,
            news=news,
            endpoint=endpoint,
            verifier=CallerVerifier(service_token=SERVICE_TOKEN, identity_key=IDENTITY_KEY, clock=clock),
            clock=clock,
            registry=registry,
            max_body_bytes=MAX_BODY_BYTES,
            function_domain="fn.platform.example",
            in_force=in_force,
            identity_key=IDENTITY_KEY,
            needs_build=lambda _runtime, files: BUILD_FILE in files,
        )
        async with serving_http(app, listener=listener, drain_s=2.0), httpx.AsyncClient(base_url=url) as client:
            yield Rig(http=client, registry=registry, vault=vault, keeper=keeper)
            feed.close()
            news.close()
            await endpoint.close()
        tasks.cancel_scope.cancel()
