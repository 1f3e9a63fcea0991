"""What an executor hears from nova about secrets, over real HTTP, and what it makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from constellation.aurora.observability.plane import new_context
from constellation.base.errors import ConstellationError
from constellation.base.ids import uuid7
from constellation.comet.backend.contract import InstanceSpec
from constellation.comet.resolving import NovaAnswers
from constellation.comet.secrets import NovaSecrets, SecretSources, SecretsRefused, SecretsUnavailable, uses
from constellation.nova.config.sections import PlatformSettings
from constellation.nova.domain.change import Change, ChangeKind
from constellation.nova.domain.function import Function
from constellation.nova.domain.identity import verify
from constellation.testing.nova import FakeNova, read_body

pytestmark = pytest.mark.anyio

FUNCTION = Function(
    tenant="acme", namespace="prod", name="f", id=uuid7(), runtime="python", handler="main.handler",
    env={"P": "$SECRET:db", "Q": "$SECRET:db", "R": "$SECRET:api", "S": "plain"},
)  # fmt: skip


class Answers:
    """Answers every request with one answer and keeps what was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body, self.asked, self.identities = status, body, [], []

    async def __call__(self, scope, receive, send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.identities.append(verify(b"key", headers["nova-identity"], now_s=0))
        self.asked.append((scope["method"], scope["raw_path"].decode(), json.loads(await read_body(receive))))
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


async def asked(tmp_path, answers, *, port=None):
    context = new_context("comet", PlatformSettings(), state_dir=tmp_path, service_token="token", identity_key="key")
    refusal = None
    async with FakeNova("token", public=answers).serving() as address:
        nova = NovaAnswers(f"http://127.0.0.1:{port or address.port}", context)
        try:
            return await NovaSecrets(nova).of(FUNCTION)
        except ConstellationError as error:
            refusal = error
        finally:
            nova.close()
    raise refusal


async def test_it_asks_for_each_name_once_as_the_functions_owner(tmp_path):
    answers = Answers(200, b'{"values": {"api": "a", "db": "d"}}')
    assert await asked(tmp_path, answers) == {"api": "a", "db": "d"}
    assert answers.asked == [("POST", "/internal/secrets/resolve", {"names": ["api", "db"]})]
    (identity,) = answers.identities
    assert (identity.tenant, identity.namespace, identity.subject) == ("acme", "prod", "function:f")


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (404, b'{"detail": "secret \'db\' does not exist"}', SecretsRefused, "does not exist"),
        (500, b'{"detail": "secret \'db\' can not be opened"}', SecretsRefused, "can not be opened"),
        (503, b'{"detail": "the database can not be used"}', SecretsUnavailable, "database"),
        (200, b'{"values": "pl4nted"}', SecretsUnavailable, "not understood"),
        (200, b"pl4nted", SecretsUnavailable, "not understood"),
    ],
)
async def test_each_refusal_says_why_and_repeats_no_value(tmp_path, status, body, error, said):
    with pytest.raises(error, match=said) as caught:
        await asked(tmp_path, Answers(status, body))
    assert "pl4nted" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_a_nova_that_is_away_is_a_reason_to_try_again(tmp_path):
    with pytest.raises(SecretsUnavailable) as caught:
        await asked(tmp_path, Answers(200, b"{}"), port=1)
    assert caught.value.retryable


class Shelf:
    """Code that is there already."""

    def __init__(self) -> None:
        self.users = 0

    async def acquire(self, function: Function) -> InstanceSpec:
        self.users += 1
        return InstanceSpec(
            tenant=function.tenant, namespace=function.namespace, function_id=function.id, function_name=function.name,
            function_version="1", runtime="python", handler="main.handler", code_dir=None, env=function.env,
        )  # fmt: skip

    def release_nowait(self, spec: InstanceSpec) -> None:
        self.users -= 1


class Known:
    def __init__(self, values) -> None:
        self.values, self.asked = values, 0

    async def of(self, function):
        self.asked += 1
        if self.values is None:
            raise SecretsUnavailable(function.name, reason="away")
        return self.values


async def test_a_specification_has_the_values_and_never_shows_them():
    shelf, known = Shelf(), Known({"db": "pl4nted", "api": "k"})
    spec = await SecretSources(shelf, known).acquire(FUNCTION)
    assert spec.env == {"P": "pl4nted", "Q": "pl4nted", "R": "k", "S": "plain"}
    assert "pl4nted" not in repr(spec)
    plain = await SecretSources(shelf, known).acquire(replace(FUNCTION, env={"S": "plain"}))
    assert (plain.env, known.asked) == ({"S": "plain"}, 1)


@pytest.mark.parametrize(
    ("values", "error"), [(None, SecretsUnavailable), ({"db": "x" * 200_000, "api": ""}, SecretsRefused)]
)
async def test_what_could_not_be_filled_in_is_given_back(values, error):
    shelf = Shelf()
    with pytest.raises(error):
        await SecretSources(shelf, Known(values)).acquire(FUNCTION)
    assert shelf.users == 0


def test_a_change_concerns_who_uses_the_secret_in_its_own_scope():
    def change(tenant="acme", namespace="prod", name="db"):
        return Change(seq=1, kind=ChangeKind.SECRET, tenant=tenant, namespace=namespace, name=name, at=None)

    assert uses(change())(FUNCTION)
    assert not any(
        uses(other)(FUNCTION) for other in (change(tenant="b"), change(namespace="test"), change(name="other"))
    )
    assert uses(None)(FUNCTION)
    assert not uses(None)(replace(FUNCTION, env={"S": "plain"}))
