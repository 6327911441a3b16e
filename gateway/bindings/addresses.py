"""Which addresses subrequests may connect to.

Refused is what IANA's special-purpose registries (RFC 6890 and its successors) do not call globally
reachable, in every form an IPv4 address can be written inside an IPv6 one.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_REFUSED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # Azure's platform service, on a public address
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All of IPv6 that is unicast and global; the rest is refused whole."""
_REFUSED_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset(
    {
        ip_address("169.254.169.254"),
        ip_address("169.254.170.2"),
        ip_address("100.100.100.200"),
        ip_address("168.63.129.16"),
        ip_address("fd00:ec2::254"),
        ip_address("fd20:ce::254"),
    }
)
"""Services that hand credentials to whoever asks; even ``allow_private`` does not reach them."""


class AddressPolicy:
    """Says of an address whether tenants may reach it."""

    def __init__(self, *, allow_private: bool = False, allow: Iterable[str] = ()) -> None:
        self._allow_private = allow_private
        self._allow = tuple(ip_network(network, strict=False) for network in allow)

    def allows(self, text: str) -> bool:
        """Whether this numeric address may be connected to; what is no address may not."""
        try:
            address = _unwrapped(ip_address(text))
        except ValueError:
            return False
        if any(address in network for network in self._allow if network.version == address.version):
            return True
        if address in _METADATA:
            return False
        return self._allow_private or is_public(address)


def is_public(address: Address) -> bool:
    """Whether an address is globally reachable unicast."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def _unwrapped(address: Address) -> Address:
    """The address that a connection really reaches: IPv4 inside IPv6 is judged as IPv4."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.scope_id is None and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
