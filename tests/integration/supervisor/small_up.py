"""`constellation up` over small planes. argv: data dir, then NAME=MOOD for planes that are not well."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import anyio

from constellation.aurora.logging.setup import configure
from constellation.nova.config.load import load
from constellation.supervisor import stop, supervise
from constellation.supervisor.keeper import Keeper
from constellation.supervisor.plan import PLANES, PlanePlan, plan
from constellation.supervisor.up import Outcome, UpOptions, up

data_dir = Path(sys.argv[1])
moods = dict(word.split("=") for word in sys.argv[2:])
stop._ORPHANS_S = 1.0


def keeper(plane, **settings):
    """What is well may take its time, however busy the machine: only what is not well is waited for in vain."""
    mood = moods.get(plane.name)
    limits = {"start_limit_s": 1.0 if mood == "deaf" else 100.0, "stop_limit_s": 1.0 if mood == "stubborn" else 100.0}
    return Keeper(plane, **{**settings, **limits})


supervise.Keeper = keeper


def small(wishes, addresses, /, *, env, supervisor_pid):
    program = str(Path(__file__).with_name("small_plane.py"))
    return [
        PlanePlan(name=p.name, command=(sys.executable, program, p.name, moods.get(p.name, "well")), env=p.env, address=p.address)
        for p in plan(wishes, addresses, env=env, supervisor_pid=supervisor_pid)
    ]  # fmt: skip


def announce(outcome: Outcome) -> None:
    print(json.dumps({"urls": outcome.urls, "was_running": outcome.was_running, "key": outcome.admin_key}), flush=True)


async def main() -> None:
    options = UpOptions(
        listen=["127.0.0.1:0"], data_dir=data_dir, is_default_place=False, config=None, pg_dsn="postgresql://nowhere",
        auth=None,
    )  # fmt: skip
    await up(options, load(file=None, env={}), env=os.environ, announce=announce, is_shown=False, planner=small)


configure(plane="supervisor", level="info", json=False)
assert set(moods) <= set(PLANES)
anyio.run(main)
