"""Every written form of an address that must not be reached."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bindings.addresses import AddressPolicy

PUBLIC_ONLY = AddressPolicy()

REFUSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "100.100.100.200",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "localhost",
    "",
    "0x7f.1",
    "127.1",
    "2130706433",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert not PUBLIC_ONLY.allows(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "172.32.0.1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1111"],
)
def test_public(address: str) -> None:
    assert PUBLIC_ONLY.allows(address)


def test_what_the_operator_lists_is_reachable_in_every_form() -> None:
    policy = AddressPolicy(allow=["10.1.0.0/16", "fd12::/16"])
    assert policy.allows("10.1.2.3")
    assert policy.allows("::ffff:10.1.2.3")
    assert policy.allows("fd12::1")
    assert not policy.allows("10.2.0.1")
    assert not policy.allows("fd13::1")


def test_metadata_services_need_to_be_listed_by_name() -> None:
    private = AddressPolicy(allow_private=True)
    assert private.allows("127.0.0.1")
    assert private.allows("fe80::1%eth0")
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"):
        assert not private.allows(address)
    assert AddressPolicy(allow=["169.254.169.254/32"]).allows("169.254.169.254")


@given(st.integers(0, 2**32 - 1))
def test_ipv4_agrees_with_the_standard_library_where_that_refuses(number: int) -> None:
    address = IPv4Address(number)
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert not PUBLIC_ONLY.allows(str(address))


@given(st.integers(0, 2**128 - 1))
def test_ipv6_agrees_with_the_standard_library_where_that_refuses(number: int) -> None:
    address = IPv6Address(number)
    embedded = address.ipv4_mapped is not None or str(address).startswith("64:ff9b::")
    if not embedded and (not address.is_global or address.is_multicast):
        assert not PUBLIC_ONLY.allows(str(address))


@given(st.integers(0, 2**32 - 1))
def test_an_embedded_address_is_judged_as_what_it_is(number: int) -> None:
    plain = PUBLIC_ONLY.allows(str(IPv4Address(number)))
    assert PUBLIC_ONLY.allows(f"::ffff:{IPv4Address(number)}") == plain
    assert PUBLIC_ONLY.allows(f"64:ff9b::{IPv4Address(number)}") == plain
