"""What `up` is about to start: each plane's command line and environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from constellation.base.lifecycle import SUPERVISOR_PID
from constellation.supervisor.ports import Addresses

PLANES = ("nova", "comet", "corona", "nebula", "aurora", "zenith")  # the order of starting
_NOVAS_OWN = tuple(  # what no other plane may know: the database owner's address, and what seals secrets
    f"NOVA_{name}{suffix}" for name in ("PG_DSN", "POSTGRES_DSN", "SECRETS_KEY") for suffix in ("", "_FILE")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanePlan:
    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    address: str  # "" for a plane that listens on its socket only


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asked for."""

    data_dir: Path
    config: Path | None
    pg_dsn: str | None
    auth: str  # "loopback" or "required"
    trusted_uid: int
    native_lane: bool | None = None  # None: as configured


def plan(wishes: Wishes, addresses: Addresses, *, env: Mapping[str, str], supervisor_pid: int) -> list[PlanePlan]:
    """Return the planes in the order of starting.

    Only nova is told the database's address: it holds the owner's, and writes one with least grants for each of the
    others (`<plane>.dsn`). It alone has the keys of secrets too.
    """
    shared = {name: value for name, value in env.items() if name not in _NOVAS_OWN}
    shared["NOVA_STATE_DIR"] = str(wishes.data_dir)
    shared[SUPERVISOR_PID] = str(supervisor_pid)
    nova_env = shared | {name: env[name] for name in _NOVAS_OWN if name in env}
    if wishes.pg_dsn is not None:
        nova_env["NOVA_PG_DSN"] = wishes.pg_dsn  # not a flag: everybody on the host reads command lines
    config = () if wishes.config is None else ("--config", str(wishes.config.absolute()))
    comet, nova_url = str(addresses.comet), f"http://{addresses.nova}"
    trust = ("--trusted-uid", str(wishes.trusted_uid)) if wishes.auth == "loopback" else ()
    lane = () if wishes.native_lane is None else ("--native-lane" if wishes.native_lane else "--no-native-lane",)
    words: dict[str, tuple[str, ...]] = {
        "nova": ("daemon", "--http", str(addresses.nova), *config),
        "comet": ("daemon", "--grpc", comet, "--nova-url", nova_url, *config, *lane),
        "corona": ("daemon", *config, "--comet-grpc", comet),
        "nebula": ("daemon", *config, "--comet-grpc", comet),
        "aurora": ("daemon", *config, "--listen", str(addresses.aurora)),
        "zenith": (
            "serve", *(word for address in addresses.zenith for word in ("--listen", str(address))),
            "--nova-url", nova_url, "--comet-grpc", comet, *config, "--auth", wishes.auth, *trust, *lane,
        ),
    }  # fmt: skip
    listens = {
        "nova": str(addresses.nova),
        "comet": comet,
        "aurora": str(addresses.aurora),
        "zenith": ",".join(str(address) for address in addresses.zenith),
    }
    return [
        PlanePlan(
            name=name,
            command=(*_program(name), *words[name]),
            env=nova_env if name == "nova" else shared,
            address=listens.get(name, ""),
        )
        for name in PLANES
    ]


def _program(plane: str) -> tuple[str, ...]:
    """Return how to run a plane: its console script beside our interpreter, else its main function."""
    script = Path(sys.executable).with_name(plane)
    if script.is_file():
        return (str(script),)
    return (sys.executable, "-c", f"from constellation.{plane}.main import main; main()")
