from __future__ import annotations

from pathlib import Path

import pytest

from constellation.base.address import Address
from constellation.supervisor.plan import PLANES, Wishes, plan
from constellation.supervisor.ports import Addresses
from constellation.supervisor.up import Outcome, describe

ADDRESSES = Addresses(
    nova=Address("127.0.0.1", 9001),
    comet=Address("127.0.0.1", 9090),
    aurora=Address("127.0.0.1", 9002),
    zenith=(Address("127.0.0.1", 9000), Address("::1", 9000)),
)


def made(
    *,
    auth: str = "loopback",
    config: Path | None = None,
    pg_dsn: str | None = None,
    native_lane: bool | None = None,
    **env: str,
):
    wishes = Wishes(
        data_dir=Path("/data"), config=config, pg_dsn=pg_dsn, auth=auth, trusted_uid=1000, native_lane=native_lane
    )
    return {p.name: p for p in plan(wishes, ADDRESSES, env=env, supervisor_pid=7)}


def words(command: tuple[str, ...]) -> str:
    return " ".join(command)


def test_the_command_lines_are_the_contract():
    plans = made(config=Path("/etc/nova.json"))
    assert list(plans) == list(PLANES)
    assert words(plans["nova"].command).endswith("daemon --http 127.0.0.1:9001 --config /etc/nova.json")
    assert words(plans["comet"].command).endswith(
        "daemon --grpc 127.0.0.1:9090 --nova-url http://127.0.0.1:9001 --config /etc/nova.json"
    )
    for name in ("corona", "nebula"):
        assert words(plans[name].command).endswith("daemon --config /etc/nova.json --comet-grpc 127.0.0.1:9090")
    assert words(plans["aurora"].command).endswith("daemon --config /etc/nova.json --listen 127.0.0.1:9002")
    assert words(plans["zenith"].command).endswith(
        "serve --listen 127.0.0.1:9000 --listen [::1]:9000 --nova-url http://127.0.0.1:9001 "
        "--comet-grpc 127.0.0.1:9090 --config /etc/nova.json --auth loopback --trusted-uid 1000"
    )
    assert "--trusted-uid" not in made(auth="required")["zenith"].command


def test_the_two_with_ports_are_told_who_owns_them():
    for native_lane, word in ((False, "--no-native-lane"), (True, "--native-lane")):
        told = [name for name, planned in made(native_lane=native_lane).items() if word in planned.command]
        assert told == ["comet", "zenith"]


def test_only_nova_is_told_the_database_and_nobody_on_a_command_line():
    for plans in (made(pg_dsn="postgresql://u:pl4nted@h/d"), made(NOVA_PG_DSN="postgresql://u:pl4nted@h/d")):
        assert plans["nova"].env["NOVA_PG_DSN"] == "postgresql://u:pl4nted@h/d"
        for name, planned in plans.items():
            assert "pl4nted" not in words(planned.command)
            assert name == "nova" or not [value for value in planned.env.values() if "pl4nted" in value]


def test_only_nova_is_told_the_keys_of_secrets():
    for name in ("NOVA_SECRETS_KEY", "NOVA_SECRETS_KEY_FILE"):
        told = {plane for plane, planned in made(**{name: "pl4nted"}).items() if name in planned.env}
        assert told == {"nova"}


def test_every_plane_knows_its_place_and_its_supervisor():
    for planned in made(PATH="/bin").values():
        assert planned.env == {"PATH": "/bin", "NOVA_STATE_DIR": "/data", "CONSTELLATION_SUPERVISOR_PID": "7"}


def test_urls_are_what_a_client_writes():
    assert ADDRESSES.urls == ["http://127.0.0.1:9000", "http://[::1]:9000"]
    assert ADDRESSES.is_loopback_only


@pytest.mark.parametrize("host", ["", "0.0.0.0", "192.168.0.1", "::"])
def test_an_address_that_others_reach_is_not_loopback(host):
    addresses = Addresses(
        nova=ADDRESSES.nova, comet=ADDRESSES.comet, aurora=ADDRESSES.aurora,
        zenith=(*ADDRESSES.zenith, Address(host, 9000)),
    )  # fmt: skip
    assert not addresses.is_loopback_only


def test_what_is_said_at_the_end():
    urls = ["http://127.0.0.1:9000"]
    first = describe(Outcome(urls=urls, auth="required", admin_key="sk_x"))
    assert "is ready at http://127.0.0.1:9000" in first
    assert "sk_x" in first
    assert "X-API-Key" in first
    again = describe(Outcome(urls=urls, auth="loopback", was_running=True))
    assert again == "Constellation is running already at http://127.0.0.1:9000\n"
    failed = describe(Outcome(urls=[], auth="loopback", admin_key="sk_x", failure="comet ended"))
    assert "sk_x" in failed
    assert "ready" not in failed
