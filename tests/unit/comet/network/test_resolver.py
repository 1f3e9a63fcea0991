"""What a sandbox's questions are answered with, what is asked of others for it, and for how long it opens the way."""

from __future__ import annotations

from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import pytest

from constellation.comet.network.resolver import NamesUnavailable, NameUnknown, answer
from constellation.nova.domain.network import AllowRule, Egress, NetworkPolicy

pytestmark = pytest.mark.anyio

POLICY = NetworkPolicy(egress=Egress.ALLOW_LIST, allow=(AllowRule(host="*.example.org"),))
FIRST, SECOND = IPv4Address("1.2.3.4"), IPv4Address("1.2.3.5")


class Upstream:
    def __init__(self, addresses=(FIRST, SECOND), ttl_s=300, failure=None):
        self.addresses, self.ttl_s, self.failure = addresses, ttl_s, failure
        self.asked = []

    async def lookup(self, name):
        self.asked.append(name)
        if self.failure is not None:
            raise self.failure
        return self.addresses, self.ttl_s


class Learner:
    def __init__(self, *, has_room=True):
        self.has_room = has_room
        self.learnt = []

    async def __call__(self, name, addresses, timeout_s):
        self.learnt.append((name, addresses, timeout_s))
        return self.has_room


async def _asked(name, kind="A", *, policy=POLICY, upstream=None, learn=None, **options):
    question = dns.message.make_query(name, kind, **options)
    reply = await answer(question.to_wire(), policy, upstream or Upstream(), learn or Learner())
    return dns.message.from_wire(reply)


def _told(reply):
    return dns.rcode.to_text(reply.rcode()), sorted(str(item) for rrset in reply.answer for item in rrset)


async def test_an_allowed_name_is_answered_and_its_way_opened_first():
    upstream, learn = Upstream(), Learner()
    reply = await _asked("API.example.org", upstream=upstream, learn=learn)
    assert _told(reply) == ("NOERROR", ["1.2.3.4", "1.2.3.5"])
    assert reply.flags & dns.flags.RA
    assert upstream.asked == ["api.example.org"]
    assert learn.learnt == [("api.example.org", (FIRST, SECOND), 330)]


@pytest.mark.parametrize(
    ("ttl_s", "told_s", "kept_s"), [(0, 0, 90), (59, 59, 90), (600, 600, 630), (10**9, 3600, 3630)]
)
async def test_time_is_bounded_and_the_way_is_open_for_longer_than_the_answer_counts(ttl_s, told_s, kept_s):
    learn = Learner()
    reply = await _asked("api.example.org", upstream=Upstream(ttl_s=ttl_s), learn=learn)
    assert (reply.answer[0].ttl, learn.learnt[0][2]) == (told_s, kept_s)


@pytest.mark.parametrize("name", ["example.org", "evil.test", "api.example.org.evil.test", ".", "a\\.b.example.com"])
async def test_nobody_is_asked_for_other_names(name):
    upstream = Upstream()
    assert _told(await _asked(name, upstream=upstream)) == ("REFUSED", [])
    assert upstream.asked == []


async def test_before_there_is_a_policy_nothing_is_answered():
    upstream = Upstream()
    assert _told(await _asked("api.example.org", policy=None, upstream=upstream)) == ("REFUSED", [])
    assert upstream.asked == []


@pytest.mark.parametrize("kind", ["AAAA", "TXT", "MX", "SRV", "HTTPS", "NS", "ANY", "PTR", "NULL"])
async def test_other_records_are_not_asked_for(kind):
    upstream = Upstream()
    assert _told(await _asked("api.example.org", kind, upstream=upstream)) == ("NOERROR", [])
    assert upstream.asked == []


async def test_addresses_inside_are_left_out_and_nothing_but_them_is_refused():
    inside, learn = IPv4Address("10.1.2.3"), Learner()
    assert _told(await _asked("a.example.org", upstream=Upstream((inside, FIRST)), learn=learn)) == (
        "NOERROR", ["1.2.3.4"],
    )  # fmt: skip
    assert learn.learnt[0][1] == (FIRST,)
    learn = Learner()
    assert _told(await _asked("a.example.org", upstream=Upstream((inside,)), learn=learn)) == ("REFUSED", [])
    assert learn.learnt == []


@pytest.mark.parametrize(
    ("failure", "said"), [(NameUnknown(), "NXDOMAIN"), (NamesUnavailable(), "SERVFAIL")], ids=["unknown", "away"]
)
async def test_failures_are_told_as_they_are(failure, said):
    assert _told(await _asked("a.example.org", upstream=Upstream(failure=failure))) == (said, [])


async def test_a_name_without_addresses_has_none():
    assert _told(await _asked("a.example.org", upstream=Upstream(()))) == ("NOERROR", [])


async def test_an_address_whose_way_could_not_be_opened_is_not_told():
    assert _told(await _asked("a.example.org", learn=Learner(has_room=False))) == ("SERVFAIL", [])


async def test_the_longest_answer_fits_in_what_every_program_takes():
    name = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 56, "example.org"])
    upstream = Upstream(tuple(IPv4Address(0x01020300 + number) for number in range(100)))
    question = dns.message.make_query(name, "A")
    reply = await answer(question.to_wire(), POLICY, upstream, Learner())
    assert len(reply) <= 512
    assert len(dns.message.from_wire(reply).answer[0]) == 14


async def test_what_is_no_question_gets_no_answer():
    question = dns.message.make_query("api.example.org", "A").to_wire()
    response = dns.message.make_response(dns.message.from_wire(question)).to_wire()
    two = question[:5] + b"\2" + question[6:] + question[12:]
    update = question[:2] + b"\x28" + question[3:]
    for text in (b"", b"junk", bytes(12), response, two, update, question + b"\0", question[:-1]):
        assert await answer(text, POLICY, Upstream(), Learner()) is None
