"""Who counts as one client: an address, or the network that one customer has."""

from __future__ import annotations

from ipaddress import IPv6Address


def neighbourhood(address: str) -> str:
    """An address, or the network that one IPv6 customer has to choose addresses from."""
    if ":" not in address:
        return address
    try:
        whole = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return f"{int(whole) >> 64:x}::/64"
