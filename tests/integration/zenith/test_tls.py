"""The gateway over HTTPS, and what its clients see when comet and zenith do not accept each other."""

from __future__ import annotations

import ssl

import httpx
import pytest
from structlog.testing import capture_logs

from constellation.nova.config.sections import ZenithSettings
from constellation.nova.config.tls import CallerTlsSettings, PlaneTlsSettings, PublicTlsSettings
from constellation.rpc.tls import caller_tls, plane_tls, public_tls
from constellation.testing.gateway import gateway_rig
from tests.certificates import Authority
from tests.integration.zenith.conftest import ADMIN, KEYS, echo, problem

pytestmark = pytest.mark.anyio
ZENITH = ZenithSettings(auth="required")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def own(authority):
    return authority.issue("local", "IP:127.0.0.1").settings()


def client_of(rig, authority, **options):
    trust = ssl.create_default_context(cafile=authority.cert)
    return httpx.AsyncClient(
        base_url=f"https://{rig.address}", verify=trust, trust_env=False, timeout=20, headers=ADMIN, **options
    )


@pytest.fixture(params=[True, False], ids=["native", "python"])
async def secured(request, authority, own, tmp_path):
    tls = await public_tls(PublicTlsSettings(**own))
    comet = await plane_tls(PlaneTlsSettings(**own, client_ca=str(authority.cert)))
    caller = await caller_tls(
        CallerTlsSettings(ca=str(authority.cert), **own), where="zenith.comet_tls", host="127.0.0.1"
    )
    async with gateway_rig(
        ZENITH, state_dir=tmp_path, tls=tls, comet_tls=comet, caller_tls=caller, is_native=request.param
    ) as rig:
        rig.nova.keys.update(KEYS)
        rig.comet.functions["echo"] = echo
        yield rig


@pytest.mark.parametrize("is_http2", [False, True])
async def test_calls_pass_over_both_secured_hops(secured, authority, is_http2):
    big = {"text": "x" * 3_000_000}
    async with client_of(secured, authority, http2=is_http2) as http:
        for body in ({"n": 1}, big, {"n": 2}):
            answer = await http.post("/functions/echo/invoke", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["output"] == body
            assert answer.http_version == ("HTTP/2" if is_http2 else "HTTP/1.1")
        problem(await http.get("/nowhere"), 404, "route_not_found")
    if secured.parts.lane is not None and not is_http2:
        assert secured.parts.lane.edge.counts.called >= 1  # the first was Python's, who learnt the key from it


async def test_plain_http_is_not_answered(secured):
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://{secured.address}/health/live")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_of_tls_are_not_spoken(secured, authority):
    old = ssl.create_default_context(cafile=authority.cert)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with httpx.AsyncClient(verify=old, trust_env=False, timeout=20) as http:
        with capture_logs() as logs, pytest.raises(httpx.TransportError):
            await http.get(f"https://{secured.address}/health/live")
    assert any("unsupported protocol" in line.get("reason", "") for line in logs)


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "python"])
@pytest.mark.parametrize(
    ("trusts", "shows", "name", "says"),
    [
        ("stranger", "own", "", "its certificate is refused: "),
        ("authority", "own", "comet.elsewhere", "comet.elsewhere"),
        ("authority", None, "", "want a certificate"),
        ("authority", "stranger", "", "our certificate"),
    ],
)
async def test_a_comet_that_is_not_trusted_or_trusts_not_is_a_clean_503(
    authority, own, tmp_path, trusts, shows, name, says, is_native
):
    stranger = Authority(tmp_path / "stranger", "Nobody's CA")
    identities = {"own": own, "stranger": stranger.issue("zenith").settings(), None: {}}
    comet = await plane_tls(PlaneTlsSettings(**own, client_ca=str(authority.cert)))
    settings = CallerTlsSettings(
        ca=str({"authority": authority, "stranger": stranger}[trusts].cert), server_name=name, **identities[shows]
    )
    caller = await caller_tls(settings, where="zenith.comet_tls", host="127.0.0.1")
    tls = await public_tls(PublicTlsSettings(**own))
    async with gateway_rig(
        ZENITH, state_dir=tmp_path, tls=tls, comet_tls=comet, caller_tls=caller, is_native=is_native
    ) as rig:
        rig.nova.keys.update(KEYS)
        rig.comet.functions["echo"] = echo
        async with client_of(rig, authority) as http:
            body = problem(await http.post("/functions/echo/invoke", json={}), 503, "unavailable")
    assert says in body["detail"]
    assert "_ssl.c" not in body["detail"]
