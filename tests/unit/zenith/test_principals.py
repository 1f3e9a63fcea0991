from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from prometheus_client import CollectorRegistry

from constellation.base.errors import NotFound, Unauthenticated, Unavailable
from constellation.nova.domain.access import Role
from constellation.nova.domain.grants import Principal
from constellation.nova.domain.identity import verify
from constellation.zenith.control import ChangeLine
from constellation.zenith.metrics import CacheMetrics
from constellation.zenith.principals import Credential, Principals

pytestmark = pytest.mark.anyio

KEY = Credential(kind="presented", text="sk_known")
SECRET = b"identity-key"


@dataclass
class FakeClock:
    passed_s: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def monotonic_s(self) -> float:
        return 1000 + self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


@dataclass
class FakeDirectory:
    keys: dict[str, Principal] = field(default_factory=dict)
    scopes: dict[tuple[str, str], str] = field(default_factory=lambda: {("acme", "prod"): "active"})
    asked: int = 0
    asked_scopes: int = 0
    is_down: bool = False
    gate: anyio.Event | None = None
    scope_gate: anyio.Event | None = None

    async def authenticate(self, kind: str, credential: str) -> Principal:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise Unavailable("nova", reason="down")
        if credential not in self.keys:
            raise Unauthenticated("nobody")
        return self.keys[credential]

    async def scope_status(self, tenant: str, namespace: str) -> str | None:
        self.asked_scopes += 1
        if self.scope_gate is not None:
            await self.scope_gate.wait()
        if self.is_down:
            raise Unavailable("nova", reason="down")
        return self.scopes.get((tenant, namespace))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def directory():
    principal = Principal.with_role(Role.OPERATOR, subject="apikey:k", tenant="acme", namespace="prod")
    return FakeDirectory(keys={"sk_known": principal})


@pytest.fixture
def principals(directory, clock):
    return Principals(
        directory=directory, identity_key=SECRET, clock=clock, fresh_s=30.0, metrics=CacheMetrics(CollectorRegistry())
    )


def change(kind: str, tenant: str) -> ChangeLine:
    return ChangeLine(seq=1, kind=kind, tenant=tenant)


async def test_nova_is_asked_once(principals, directory, clock):
    first = await principals.access(KEY, b"", b"")
    assert await principals.access(KEY, b"", b"") is first
    assert directory.asked == directory.asked_scopes == 1
    identity = verify(SECRET, first.token, now_s=clock.now().timestamp())
    assert (identity.tenant, identity.namespace, identity.subject) == ("acme", "prod", "apikey:k")


async def test_many_at_once_are_one_question(principals, directory):
    directory.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(principals.access, KEY, b"", b"")
        await anyio.wait_all_tasks_blocked()
        directory.gate.set()
    assert directory.asked == directory.asked_scopes == 1


async def test_many_at_once_share_a_renewal_and_its_failure(principals, directory, clock):
    await principals.access(KEY, b"", b"")
    clock.passed_s += 40  # the key's entry and the token are due
    directory.scope_gate, directory.scopes = anyio.Event(), {}
    tokens, refusals = set(), []

    async def ask() -> None:
        try:
            tokens.add((await principals.access(KEY, b"", b"")).token)
        except NotFound as error:
            refusals.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        directory.scope_gate.set()
    assert (len(refusals), directory.asked_scopes) == (50, 2)
    directory.scopes = {("acme", "prod"): "active"}
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    assert (len(tokens), directory.asked_scopes) == (1, 3)


async def test_who_comes_after_a_change_is_not_answered_by_an_older_question(principals, directory):
    directory.scope_gate = anyio.Event()
    suspended = []

    async def ask() -> None:
        suspended.append((await principals.access(KEY, b"", b"")).is_suspended)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        principals.forget(change("tenant", "acme"))
        directory.scopes = {("acme", "prod"): "suspended"}
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert directory.asked_scopes == 2
        directory.scope_gate.set()
    assert suspended == [True, True]


async def test_a_scope_question_whose_asker_hangs_up_is_asked_again(principals, directory):
    directory.scope_gate = anyio.Event()
    got = []

    async def ask() -> None:
        got.append(await principals.access(KEY, b"", b""))

    async with anyio.create_task_group() as tasks:
        first = anyio.CancelScope()

        async def hangs_up() -> None:
            with first:
                await ask()

        tasks.start_soon(hangs_up)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        directory.scope_gate.set()
    assert (len(got), directory.asked_scopes) == (2, 2)


async def test_one_that_hangs_up_does_not_take_the_others_along(principals, directory):
    directory.gate = anyio.Event()
    got = []

    async def ask() -> None:
        got.append(await principals.access(KEY, b"", b""))

    async with anyio.create_task_group() as tasks:
        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await ask()

        tasks.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await anyio.wait_all_tasks_blocked()
        directory.gate.set()
    assert len(got) == 1


async def test_a_token_is_renewed_at_half_its_life(principals, clock):
    first = await principals.access(KEY, b"", b"")
    clock.passed_s = 29
    assert await principals.access(KEY, b"", b"") is first
    clock.passed_s = 31
    second = await principals.access(KEY, b"", b"")
    assert second.token != first.token
    assert second.identity.expires_at_s == first.identity.expires_at_s + 31


async def test_an_unknown_key_is_remembered_briefly_and_forgotten_when_keys_change(principals, directory, clock):
    stranger = Credential(kind="presented", text="sk_stranger")
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await principals.access(stranger, b"", b"")
    assert directory.asked == 1
    clock.passed_s += 6
    with pytest.raises(Unauthenticated):
        await principals.access(stranger, b"", b"")
    assert directory.asked == 2
    directory.keys["sk_stranger"] = directory.keys["sk_known"]
    principals.forget(change("api_key", "acme"))
    await principals.access(stranger, b"", b"")


async def test_unknown_keys_take_bounded_room(principals):
    for n in range(10_050):
        with pytest.raises(Unauthenticated):
            await principals.access(Credential(kind="presented", text=f"sk_{n}"), b"", b"")
    assert len(principals._unknown) <= 10_000


@pytest.mark.parametrize("kind", ["api_key", "tenant", "namespace"])
async def test_a_change_is_seen_at_once(principals, directory, kind):
    await principals.access(KEY, b"", b"")
    asked, asked_scopes = directory.asked, directory.asked_scopes
    principals.forget(change("function", "acme"))
    principals.forget(change(kind, "other"))
    await principals.access(KEY, b"", b"")
    assert (directory.asked, directory.asked_scopes) == (asked, asked_scopes)
    del directory.keys["sk_known"]
    directory.scopes.clear()
    principals.forget(change(kind, "acme"))
    with pytest.raises(NotFound if kind == "namespace" else Unauthenticated):
        await principals.access(KEY, b"", b"")


async def test_a_key_that_acts_anywhere_is_asked_for_again_whichever_tenants_keys_change(principals, directory):
    directory.keys["sk_known"] = Principal.with_role(Role.ADMIN, subject="a", tenant="*", namespace="*")
    await principals.access(KEY, b"acme", b"prod")
    principals.forget(change("api_key", "default"))
    await principals.access(KEY, b"acme", b"prod")
    assert directory.asked == 2


async def test_a_tenants_other_limits_are_in_the_next_token_of_its_keys(principals, directory):
    assert (await principals.access(KEY, b"", b"")).identity.rate_per_s == 0
    directory.keys["sk_known"] = replace(directory.keys["sk_known"], rate_per_s=7.0, burst=9)
    principals.forget(change("tenant", "other"))
    assert (await principals.access(KEY, b"", b"")).identity.rate_per_s == 0
    principals.forget(change("tenant", "acme"))
    identity = (await principals.access(KEY, b"", b"")).identity
    assert (identity.rate_per_s, identity.burst) == (7.0, 9)


async def test_a_suspension_is_seen(principals, directory):
    assert not (await principals.access(KEY, b"", b"")).is_suspended
    directory.scopes["acme", "prod"] = "suspended"
    principals.forget(change("tenant", "acme"))
    assert (await principals.access(KEY, b"", b"")).is_suspended


async def test_an_answer_older_than_a_change_is_not_kept(principals, directory):
    directory.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(principals.access, KEY, b"", b"")
        await anyio.wait_all_tasks_blocked()
        principals.forget(change("api_key", "acme"))
        directory.gate.set()
    await principals.access(KEY, b"", b"")
    assert directory.asked == 2


async def test_what_is_known_serves_while_nova_is_down(principals, directory, clock):
    first = await principals.access(KEY, b"", b"")
    directory.is_down = True
    clock.passed_s = 31
    second = await principals.access(KEY, b"", b"")
    assert second.token != first.token
    with pytest.raises(Unavailable):
        await principals.access(Credential(kind="presented", text="sk_other"), b"", b"")
    principals.forget_everything()
    with pytest.raises(Unavailable):
        await principals.access(KEY, b"", b"")


async def test_a_key_that_expired_is_refused_once_it_is_asked_for_again(principals, directory, clock):
    await principals.access(KEY, b"", b"")
    directory.keys.clear()  # expiry is no change: no row was written
    clock.passed_s = 31
    with pytest.raises(Unauthenticated):
        await principals.access(KEY, b"", b"")


async def test_a_scope_that_does_not_exist(principals, directory):
    directory.scopes.clear()
    with pytest.raises(NotFound):
        await principals.access(KEY, b"", b"")


@pytest.mark.parametrize("is_down", [False, True])
async def test_a_key_is_known_no_longer_than_it_is_valid(principals, directory, clock, is_down):
    ends = clock.now().timestamp() + 2
    directory.keys[KEY.text] = replace(directory.keys[KEY.text], expires_at_s=ends)
    await principals.access(KEY, b"", b"")
    clock.passed_s = 1.9
    await principals.access(KEY, b"", b"")
    assert directory.asked == 1
    clock.passed_s = 2.0
    del directory.keys[KEY.text]
    directory.is_down = is_down
    with pytest.raises(Unavailable if is_down else Unauthenticated):
        await principals.access(KEY, b"", b"")


async def test_what_may_be_kept_of_an_access_ends_with_it(principals, directory, clock):
    assert principals.kept(KEY, b"", b"") is None
    access = await principals.access(KEY, b"", b"")
    kept = principals.kept(KEY, b"", b"")
    assert (kept.access, kept.renew_at_s, kept.until_s) == (access, 1030.0, 1032.0)
    assert principals.kept(KEY, b"acme", b"") is None  # the headers are another question
    ends = clock.now().timestamp() + 31
    directory.keys["sk_known"] = replace(directory.keys["sk_known"], expires_at_s=ends)
    principals.forget_everything()
    assert principals.kept(KEY, b"", b"") is None
    await principals.access(KEY, b"", b"")
    kept = principals.kept(KEY, b"", b"")
    assert (kept.renew_at_s, kept.until_s) == (1030.0, 1031.0)  # never past the key's own end


async def test_others_forget_when_this_cache_does(directory, clock):
    forgotten: list[bool] = []
    principals = Principals(
        directory=directory, identity_key=SECRET, clock=clock, fresh_s=30.0, metrics=CacheMetrics(CollectorRegistry()),
        on_forget=lambda: forgotten.append(True),
    )  # fmt: skip
    await principals.access(KEY, b"", b"")
    principals.forget(ChangeLine(seq=1, kind="function", tenant="acme"))
    with pytest.raises(Unauthenticated):
        await principals.access(Credential(kind="presented", text="sk_wrong"), b"", b"")
    assert not forgotten  # whoever guesses keys makes nobody forget
    principals.forget(ChangeLine(seq=2, kind="tenant", tenant="acme"))
    principals.forget(ChangeLine(seq=3, kind="api_key", tenant="acme"))
    principals.forget_everything()
    assert len(forgotten) == 3
    await principals.access(KEY, b"", b"")
    del directory.keys["sk_known"]
    clock.passed_s += 30
    with pytest.raises(Unauthenticated):
        await principals.access(KEY, b"", b"")
    assert len(forgotten) == 4


@pytest.mark.parametrize(
    ("name", "is_forgotten"),
    [("", True), ("user:ann", True), ("session:acme/1", True), ("user:bob", False), ("session:acme/2", False)],
)
async def test_a_change_of_one_caller_forgets_no_other(principals, directory, name, is_forgotten):
    directory.keys["sk_known"] = replace(
        Principal.with_role(Role.VIEWER, subject="user:ann", tenant="acme", namespace="*"), session="acme/1"
    )
    await principals.access(KEY, b"", b"prod")
    principals.forget(ChangeLine(seq=1, kind="principal", tenant="beta", name=""))
    principals.forget(ChangeLine(seq=2, kind="principal", tenant="acme", name=name))
    await principals.access(KEY, b"", b"prod")
    assert directory.asked == 1 + is_forgotten
