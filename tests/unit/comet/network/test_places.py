"""Names and numbers that can not collide."""

from __future__ import annotations

from pathlib import Path

import pytest

from constellation.comet.network.places import MOST, SANDBOXES, UPLINKS, Names, device_of, pair_of, uplink_of


def test_names_fit_in_what_the_kernel_takes():
    names = Names.of(Path("/var/lib/constellation/run/comet-sandboxes"))
    assert len(names.uplink) <= 15
    assert len(device_of(1 << 30)) <= 15


def test_as_many_sandboxes_as_there_may_be_have_addresses_of_their_own():
    pairs = [pair_of(number) for number in range(5, 5 + MOST)]
    addresses = {each for pair in pairs for each in (pair.near, pair.far)}
    assert len(addresses) == 2 * MOST
    assert all(address in SANDBOXES for address in addresses)


def test_the_way_to_the_host_avoids_what_the_host_has():
    names = Names(digest="0123456789ab")
    first = uplink_of(names, set())
    assert first.near in UPLINKS
    assert int(first.far) == int(first.near) + 1
    second = uplink_of(names, {first.far})
    assert second.near not in (first.near, first.far)
    assert uplink_of(names, set()) == first


def test_a_host_without_a_free_address_is_told():
    with pytest.raises(OSError, match="no address"):
        uplink_of(Names(digest="0"), set(UPLINKS))
