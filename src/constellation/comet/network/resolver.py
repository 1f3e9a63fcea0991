"""The name server of a sandbox: it answers for names that the sandbox may reach, and opens the way to what it answers.

Nothing of a question goes further before its name was found allowed, and then its name alone, as a question for
addresses: no record of another kind is asked for, so none carries data out or in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from constellation.nova.domain.network import NetworkPolicy, is_answered, may_ask

MAX_QUESTION_BYTES = 512
_MOST_ADDRESSES = 14  # with the longest name they still fit in the 512 bytes that every program takes
_TOLD_MAX_S = 3600  # chosen: how long an answer counts at most, whatever its owner says
_REACHED_MIN_S, _GRACE_S = 60, 30  # chosen: programs hold on to addresses for longer than they are told
_LOOKUP_S = 4.0  # chosen: below the 5 s after which glibc asks again
_CACHED = 4096

Answered = tuple[tuple[IPv4Address, ...], int]


class NameUnknown(Exception):
    """There is no such name."""


class NamesUnavailable(Exception):
    """Nobody told in time."""


class Upstream(Protocol):
    async def lookup(self, name: str) -> Answered:
        """Return the IPv4 addresses of a name and for how many seconds they count.

        Raises:
            NameUnknown, NamesUnavailable
        """
        ...


class HostResolver:
    """Implements `Upstream` by the name servers that a resolv.conf names, read again when it changes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._read_at: tuple[int, int] = (0, 0)

    async def lookup(self, name: str) -> Answered:
        try:
            found = await self._current().resolve(
                name + ".", "A", search=False, raise_on_no_answer=False, lifetime=_LOOKUP_S
            )
        except dns.resolver.NXDOMAIN as error:
            raise NameUnknown from error
        except (dns.exception.DNSException, OSError) as error:
            raise NamesUnavailable from error
        addresses = tuple(IPv4Address(each.address) for each in found.rrset or ())
        return addresses, max(0, int(found.expiration - time.time()))

    def _current(self) -> dns.asyncresolver.Resolver:
        try:
            state = os.stat(self._path)  # noqa: PTH116 - a microsecond, of a file that is in memory
            read_at = (state.st_ino, state.st_mtime_ns)
        except OSError as error:
            raise NamesUnavailable from error
        if self._resolver is None or read_at != self._read_at:
            try:
                self._resolver = dns.asyncresolver.Resolver(self._path)
            except dns.exception.DNSException as error:
                raise NamesUnavailable from error
            self._resolver.cache = dns.resolver.LRUCache(_CACHED)
            self._read_at = read_at
        return self._resolver


async def answer(
    question: bytes,
    policy: NetworkPolicy | None,
    upstream: Upstream,
    learn: Callable[[str, tuple[IPv4Address, ...], int], Awaitable[bool]],
) -> bytes | None:
    """Return the answer to a sandbox's question; None when it is not one.

    Args:
        policy: of the sandbox; None while it has none.
        learn: opens the way to the addresses of a name for so many seconds; False when there are too many.
    """
    try:
        asked = dns.message.from_wire(question)
    except (dns.exception.DNSException, ValueError):
        return None
    if asked.flags & dns.flags.QR or asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
        return None
    reply = dns.message.make_response(asked, recursion_available=True)
    reply.set_rcode(await _answer(asked.question[0], reply, policy, upstream, learn))
    return reply.to_wire()


async def _answer(
    question: dns.rrset.RRset,
    reply: dns.message.Message,
    policy: NetworkPolicy | None,
    upstream: Upstream,
    learn: Callable[[str, tuple[IPv4Address, ...], int], Awaitable[bool]],
) -> dns.rcode.Rcode:
    name = question.name.to_text(omit_final_dot=True).lower()
    if question.rdclass != dns.rdataclass.IN or policy is None or "\\" in name or not may_ask(policy, name):
        return dns.rcode.REFUSED
    if question.rdtype != dns.rdatatype.A:  # there is no IPv6 inside, and nobody needs the rest to connect
        return dns.rcode.NOERROR
    try:
        found, ttl_s = await upstream.lookup(name)
    except NameUnknown:
        return dns.rcode.NXDOMAIN
    except NamesUnavailable:
        return dns.rcode.SERVFAIL
    addresses = tuple(each for each in found if is_answered(policy, each))[:_MOST_ADDRESSES]
    if not addresses:  # it has none, or it stands for what is inside
        return dns.rcode.REFUSED if found else dns.rcode.NOERROR
    told_s = min(ttl_s, _TOLD_MAX_S)
    if not await learn(name, addresses, max(told_s, _REACHED_MIN_S) + _GRACE_S):
        return dns.rcode.SERVFAIL
    reply.answer.append(
        dns.rrset.from_text_list(question.name, told_s, "IN", "A", [str(address) for address in addresses])
    )
    return dns.rcode.NOERROR
