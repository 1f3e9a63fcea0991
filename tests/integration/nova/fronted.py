"""A gateway before the real control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx

from constellation.nova.config.sections import ZenithSettings
from constellation.testing.gateway import GatewayRig, gateway_rig

from .conftest import IDENTITY_KEY, SERVICE_TOKEN, Rig

FRESH_S = 1.0  # within which a change is live on the gateway
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The gateway, and callers by their credential."""

    http: httpx.AsyncClient
    gateway: GatewayRig

    async def __call__(
        self, method: str, path: str, credential: str | None = None, body: Any = None, **headers: str
    ) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if credential is not None:
            given["authorization"] = f"Bearer {credential}"
        return await self.http.request(method, path, json=body, headers=given)

    async def login(self, user: str, password: str = PASSWORD, *, tenant: str = "default") -> str:
        answer = await self("POST", "/auth/login", body={"user": user, "password": password, "tenant": tenant})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    async def until(self, status: int, method: str, path: str, credential: str, body: Any = None) -> None:
        """Wait until a request is answered so; a change may take its time to come here."""
        with anyio.fail_after(FRESH_S * 10):  # of a busy machine; an idle one needs some milliseconds
            while (await self(method, path, credential, body)).status_code != status:
                await anyio.sleep(0.02)


@asynccontextmanager
async def fronted(nova: Rig, state_dir: Path) -> AsyncIterator[Front]:
    settings = ZenithSettings(auth="required", cache_ttl_s=300.0)  # what is live sooner came by the stream of changes
    async with (
        gateway_rig(
            settings,
            state_dir=state_dir,
            nova_url=str(nova.http.base_url),
            service_token=SERVICE_TOKEN,
            identity_key=IDENTITY_KEY.decode(),
        ) as rig,
        httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as http,
    ):
        yield Front(http=http, gateway=rig)
