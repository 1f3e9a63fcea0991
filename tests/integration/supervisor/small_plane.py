"""A plane of nothing but its health, for tests of the supervisor. argv: name, mood."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio

from constellation.base.lifecycle import die_with_supervisor, until_signal
from constellation.base.sockets import listen_unix
from constellation.base.statedir import make_private
from constellation.rpc.server import serving


async def main() -> None:
    name, mood = sys.argv[1:3]
    state_dir = Path(os.environ["NOVA_STATE_DIR"])
    print(f"{name} begins with pid {os.getpid()}", flush=True)
    if name == "nova":
        print("key: sk_" + "A" * 40, flush=True)
    if mood == "broken":
        print(f"{name} can not find its spanner", flush=True)
        sys.exit(7)
    if mood == "deaf":
        await anyio.sleep_forever()
    if mood == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run = make_private(state_dir / "run")
    async with serving([], listener=listen_unix(run / f"{name}.sock")):
        if mood == "stubborn":
            await anyio.sleep_forever()
        await until_signal()
        with (state_dir / "ended").open("a") as file:
            file.write(f"{name}\n")


die_with_supervisor(os.environ)
anyio.run(main)
