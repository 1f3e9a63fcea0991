"""The rules by which packets of sandboxes are let through, as nftables texts. Pure: nothing here touches the kernel.

A sandbox's packets come by a wire of its own into the router, a network namespace of comet's. What it sends is looked at
by device *and* source, so a forged source is nobody's. Of a connection that was let through, the mark says by which
sandbox: it lasts as long as that one does, and never longer, whoever has its device or its address afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from constellation.comet.network.places import Names, Pair, device_of
from constellation.nova.domain.network import (
    NAME_PORTS,
    NEVER,
    PRIVATE,
    AllowRule,
    Egress,
    NetworkPolicy,
    networks,
)

UPLINK = "up"  # the router's own end of the way to the host
_FLOWS_MOST = 512  # chosen: connections of one sandbox at a time; the host's table has room for some hundred thousand


def _elements(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def router_rules(names: Names) -> str:
    """Return the table of the router: nobody is known in it yet, so nothing passes."""
    return f"""
table inet {names.table} {{
  flags owner
  set never {{ type ipv4_addr; flags interval; elements = {{ {_elements(NEVER)} }}; }}
  set private {{ type ipv4_addr; flags interval; elements = {{ {_elements(PRIVATE)} }}; }}
  map marks {{ typeof meta iifname . ip saddr : meta mark; }}
  map policies {{ typeof meta mark : verdict; }}
  set flows {{ typeof ct mark . meta iifname; }}
  set names {{ typeof meta mark . ip daddr . meta l4proto . th dport; flags timeout; }}
  set hosts {{ typeof meta mark . ip daddr . meta l4proto; flags timeout; }}
  set counted {{ typeof ip saddr; flags dynamic; size 65535; }}
  chain admit {{ ct mark set meta mark accept; }}
  chain refuse {{ reject with icmpx admin-prohibited; }}
  chain input {{ type filter hook input priority filter; policy drop; }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "{UPLINK}" ct state established,related ct mark . oifname @flows accept
    iifname "{UPLINK}" drop
    meta mark set iifname . ip saddr map @marks
    meta mark 0 drop
    ct state invalid drop
    ct state established,related ct mark . iifname @flows accept
    ct state != new drop
    oifname != "{UPLINK}" goto refuse
    meta l4proto != {{ tcp, udp }} goto refuse
    ip daddr @never goto refuse
    add @counted {{ ip saddr ct count over {_FLOWS_MOST} }} goto refuse
    meta mark vmap @policies
  }}
  chain postrouting {{ type nat hook postrouting priority srcnat; oifname "{UPLINK}" masquerade; }}
}}
"""


def host_rules(names: Names, uplink: Pair, *, closed: Iterable[str]) -> str:
    """Return the table of the host: what comes from the router may leave the host, and nothing else.

    Args:
        closed: devices on which the host forwards only since we told it to: to others it stays as shut as it was.
    """
    shut = _elements(f'"{device}"' for device in closed)
    guard = f"iifname {{ {shut} }} ct state new ct status != dnat drop" if shut else ""
    return f"""
table inet {names.table} {{
  flags owner
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    iifname "{names.uplink}" reject with icmpx admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    iifname "{names.uplink}" meta nfproto != ipv4 drop
    iifname "{names.uplink}" ip saddr != {uplink.far} drop
    iifname "{names.uplink}" oifname "cst*" drop
    oifname "{names.uplink}" ct state != {{ established, related }} drop
    {guard}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {uplink.far} masquerade
  }}
}}
"""


def permit(names: Names, number: int, mark: int, address: IPv4Address, policy: NetworkPolicy) -> str:
    """Return what lets a sandbox through by its policy."""
    table, chain, device = f"inet {names.table}", f"s{number}", device_of(number)
    lines = [f"add chain {table} {chain}"]
    lines += [f"add rule {table} {chain} {rule}" for rule in _rules(policy)]
    lines += [
        f"add element {table} policies {{ {mark} : goto {chain} }}",
        f"add element {table} flows {{ {mark} . {device} }}",
        f"add element {table} marks {{ {device} . {address} : {mark} }}",
    ]
    return "\n".join(lines)


def _rules(policy: NetworkPolicy) -> Iterable[str]:
    """Order is meaning: what is denied, what is private and not opened, name servers, then what is open."""
    if policy.deny:
        yield f"ip daddr {{ {_elements(_merged(policy.deny))} }} goto refuse"
    name_server = f"th dport {{ {_elements(NAME_PORTS)} }}"
    for is_private in (True, False):
        allowed = tuple(networks(policy, is_private=is_private))
        yield from (_admit(net, rule) for net, rule in allowed if rule.ports)
        if is_private:
            yield f"ip daddr @private {name_server} goto refuse"
        else:
            yield "meta mark . ip daddr . meta l4proto . th dport @names goto admit"
            yield f"{name_server} goto refuse"
        yield from (_admit(net, rule) for net, rule in allowed if not rule.ports)
        if is_private:
            yield "ip daddr @private goto refuse"
    yield (
        "goto admit" if policy.egress is Egress.INTERNET else ("meta mark . ip daddr . meta l4proto @hosts goto admit")
    )
    yield "goto refuse"


def _admit(network: IPv4Network, rule: AllowRule) -> str:
    ports = f"{rule.protocol} dport {{ {_elements(rule.ports)} }}" if rule.ports else f"meta l4proto {rule.protocol}"
    return f"ip daddr {network} {ports} goto admit"


def _merged(cidrs: Iterable[str]) -> Iterable[IPv4Network]:
    """An interval set takes no network that lies in another."""
    nets = sorted({IPv4Network(each) for each in cidrs}, key=lambda net: net.prefixlen)
    return [net for place, net in enumerate(nets) if not any(net.subnet_of(wider) for wider in nets[:place])]


def forget(names: Names, number: int, mark: int, address: IPv4Address, resolved: Iterable[str]) -> str:
    """Return what takes back all of a sandbox's; `resolved` are its elements of `names` and `hosts`."""
    table, chain, device = f"inet {names.table}", f"s{number}", device_of(number)
    lines = [
        f"delete element {table} marks {{ {device} . {address} }}",
        f"delete element {table} flows {{ {mark} . {device} }}",
        f"delete element {table} policies {{ {mark} }}",
        f"delete chain {table} {chain}",
        f"add element {table} counted {{ {address} ct count over {_FLOWS_MOST} }}",
        f"delete element {table} counted {{ {address} }}",
    ]
    for element in resolved:  # added first like the one above: the kernel may have dropped it with its time
        name, _, key = element.partition(" ")
        lines += [f"add element {table} {name} {{ {key} timeout 1m }}", f"delete element {table} {name} {{ {key} }}"]
    return "\n".join(lines)


def resolved(mark: int, address: IPv4Address, rules: Iterable[AllowRule]) -> tuple[str, ...]:
    """Return the elements, each the name of a set and a key, by which an address of an allowed name is reached."""
    found: dict[str, None] = {}
    for rule in rules:
        for port in rule.ports:
            found[f"names {mark} . {address} . {rule.protocol} . {port}"] = None
        if not rule.ports:
            found[f"hosts {mark} . {address} . {rule.protocol}"] = None
    return tuple(found)


def learn(names: Names, elements: Iterable[str], timeout_s: int) -> str:
    """Return what lets an allowed name's addresses be reached for so long from now on, whether they were before or not."""
    table, lines = f"inet {names.table}", []
    for element in elements:
        name, _, key = element.partition(" ")
        add = f"add element {table} {name} {{ {key} timeout {timeout_s}s }}"
        lines += [add, f"delete element {table} {name} {{ {key} }}", add]  # of one that is there, only so
    return "\n".join(lines)
