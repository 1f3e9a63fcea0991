"""Whether this host can give sandboxes a network, found out by trying."""

from __future__ import annotations

import os
import threading
from ipaddress import IPv4Address

from constellation.comet.network.nft import Nft, NftFailed
from constellation.comet.network.places import Names, Pair
from constellation.comet.network.ruleset import host_rules, router_rules
from constellation.comet.network.spaces import make_namespace

_TRIED = Names(digest="probe")
_ANY = Pair(near=IPv4Address("198.19.0.0"), far=IPv4Address("198.19.0.1"))


def missing() -> str:
    """Return what is missing; "" when nothing is. Blocks for some milliseconds.

    The rules are loaded into a network namespace that nobody is in; it ends with the thread that made it.
    """
    if os.geteuid() != 0:
        return "it needs root"
    said: list[str] = []
    thread = threading.Thread(target=_try, args=(said,))
    thread.start()
    thread.join()
    return "".join(said)


def forward_drops() -> list[str]:
    """Return the chains of this host that drop whatever is forwarded and that they do not know, as Docker has it done.

    What they accept is not looked at: an operator may have told them to let our devices' packets through. Blocks.
    """
    nft = Nft()
    try:
        chains = nft.chains()
    except NftFailed:
        return []
    finally:
        nft.close()
    return [
        f"{each['family']} {each['table']} {each['name']}"
        for each in chains
        if each.get("hook") == "forward" and each.get("policy") == "drop" and each["family"] in ("ip", "inet")
    ]


def _try(said: list[str]) -> None:
    try:
        os.close(make_namespace())
        for rules in (router_rules(_TRIED), host_rules(Names(digest="probe2"), _ANY, closed=("eth0",))):
            nft = Nft()
            try:
                nft.run(rules)
            finally:
                nft.close()
    except (OSError, NftFailed) as error:
        said.append(str(error))
