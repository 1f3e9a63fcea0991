"""h2spec, the conformance suite of HTTP/2, against comet's port. `make h2spec` builds it and runs this."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from constellation.base.address import Address
from constellation.base.sockets import listen_tcp, listen_unix
from constellation.native.h2 import Ports
from constellation.native.reactor import Reactor
from constellation.rpc.server import serving

pytestmark = pytest.mark.anyio
H2SPEC = Path(__file__).parents[3] / "build" / "bin" / "h2spec"


@pytest.mark.skipif(not H2SPEC.is_file(), reason="h2spec is not built; run `make h2spec`")
async def test_every_case_of_h2spec_passes(tmp_path):
    reactor, behind = Reactor(), tmp_path / "behind.sock"
    listener, address = listen_tcp(Address("127.0.0.1", 0))
    with anyio.fail_after(300), reactor.turning(), listener:
        async with (
            serving([], listener=listen_unix(behind)),
            Ports(reactor).serving([listener], behind, linger_s=0.1) as port,
        ):
            words = [str(H2SPEC), "--host", address.host, "--port", str(address.port), "--timeout", "10"]
            done = await anyio.run_process(words, check=False)
            text = done.stdout.decode()
            assert port.counts().faulted > 0
    total = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", text)
    assert total is not None, text
    failures = text[text.find("Failures:") :]
    assert total.group(2) == total.group(1), failures
