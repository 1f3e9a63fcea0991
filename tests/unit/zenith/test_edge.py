from __future__ import annotations

import json
import os

import pytest

from constellation.native.edge import Refusal, grpc_refusal
from constellation.nova.config.sections import ZenithSettings
from constellation.zenith.edge import behind_edge, connection_limit, edge_socket_path, refusals, upstream_socket
from constellation.zenith.request import PEER_EXTENSION

pytestmark = pytest.mark.anyio


def test_every_refusal_has_the_answer_that_the_app_would_give():
    answers = refusals(ZenithSettings(max_inflight=7))
    assert set(answers) == {*Refusal, *(grpc_refusal(status) for status in range(1, 17))}
    for answer in answers.values():
        problem = json.loads(answer.problem)
        assert (problem["status"], problem["code"]) == (answer.status, answer.code)
        assert "request_id" not in problem
    assert json.loads(answers[Refusal.OVERLOADED].problem)["limit"] == 7
    assert answers[Refusal.OVERLOADED].headers == {"retry-after": "1"}
    assert answers[grpc_refusal(5)].status == 404


def test_connections_leave_descriptors_for_the_rest():
    assert connection_limit(1024) == 384
    assert connection_limit(100) == 64
    assert connection_limit(1 << 20) == 16_384


async def test_the_app_sees_the_clients_own_connection():
    seen = []

    async def app(scope, _receive, _send) -> None:
        seen.append(scope)

    peer = b"::ffff:10.0.0.1 5 ::1 9000 4294967297 tls proxied"
    scope = {"type": "http", "client": None, "server": None, "extensions": {},
             "headers": [(b"host", b"h"), (b"constellation-peer", peer)]}  # fmt: skip
    await behind_edge(app)(scope, None, None)
    assert (seen[0]["client"], seen[0]["server"]) == (("::ffff:10.0.0.1", 5), ("::1", 9000))
    assert seen[0]["extensions"][PEER_EXTENSION] == (4294967297, False)
    assert seen[0]["headers"] == [(b"host", b"h")]
    with pytest.raises(RuntimeError):
        await behind_edge(app)({"type": "http", "headers": [(b"host", b"h")]}, None, None)


def test_the_socket_is_ours_and_those_of_the_dead_go(tmp_path):
    dead, other = (
        tmp_path / "edge-4194305.sock",
        tmp_path / "edge-1.sock",
    )  # above the highest possible pid; a living one
    dead.touch()
    other.touch()
    path = edge_socket_path(tmp_path)
    assert str(os.getpid()) in path.name
    with upstream_socket(path) as listener:
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o600
        assert not dead.exists()
        assert other.exists()
        listener.close()
    assert not path.exists()
