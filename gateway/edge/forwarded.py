"""Who the client is, behind which proxies, and what the tenant is told about it.

``X-Forwarded-*`` fields are believed only from peers in the operator's networks; the client's
address is the rightmost one in ``X-Forwarded-For`` that is not one of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from gateway.model.http import HeaderList

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_STRIPPED: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-original-host",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"front-end-https",
        b"x-host",
        b"x-http-host-override",
        b"x-scheme",
        b"x-url-scheme",
    }
)
_MAX_HOPS: Final = 32
_SCHEMES: Final = frozenset({"http", "https"})


class Forwarded(NamedTuple):
    """What is known of the client once the proxies in front are accounted for."""

    client: str
    """Address of the client; empty when the peer has none (a Unix socket)."""
    scheme: str
    authority: str
    """Host and port as the client named them; empty when it named none."""
    trusted: bool
    """Whether the peer is one of the operator's proxies."""
    headers: HeaderList
    """The request's fields with the client's own claims replaced by what is known."""


class TrustedProxies:
    """The operator's networks, and what follows from a peer being in one of them."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        networks = [ip_network(cidr, strict=False) for cidr in cidrs]
        self._v4 = tuple(n for n in networks if isinstance(n, IPv4Network))
        self._v6 = tuple(n for n in networks if isinstance(n, IPv6Network))
        self._any = bool(networks)
        self._is_trusted = lru_cache(maxsize=4096)(self._judge)

    def trusts(self, address: str) -> bool:
        """Whether this address is one of the operator's proxies."""
        return self._any and self._is_trusted(address)

    def resolve(
        self, peer: str, scheme: str, headers: HeaderList, *, believed: bool = True
    ) -> Forwarded:
        """Account for the proxies. ``headers`` are clean: lower-case names, at most one Host.

        Not ``believed`` is a proxy that may pass on what a client claims.
        """
        kept: HeaderList = []
        claims: HeaderList = []
        host = b""
        for field in headers:
            name = field[0]
            if name in _STRIPPED:
                claims.append(field)
                continue
            if name == b"host":
                host = field[1]
            kept.append(field)
        client = peer
        trusted = believed and self.trusts(peer)
        if trusted and claims:
            client = self._client(peer, _joined(claims, _FOR))
            claimed_scheme = _last(claims, _PROTO).decode("latin-1").lower()
            if claimed_scheme in _SCHEMES:
                scheme = claimed_scheme
            host = _last(claims, _HOST) or host
        kept.append((_FOR, client.encode("latin-1", "replace")))
        kept.append((_PROTO, scheme.encode("latin-1", "replace")))
        kept.append((_HOST, host))
        return Forwarded(client, scheme, host.decode("utf-8", "replace"), trusted, kept)

    def _client(self, peer: str, chain: bytes) -> str:
        """Walk the chain from the right while the hops are ours; stop at what is no address."""
        client = peer
        for hop in reversed(chain.decode("latin-1").split(",")[-_MAX_HOPS:]):
            address = _address(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def _judge(self, text: str) -> bool:
        address = _address(text)
        if address is None:
            return False
        if isinstance(address, IPv4Address):
            return any(address in network for network in self._v4)
        return any(address in network for network in self._v6)


def _joined(claims: HeaderList, wanted: bytes) -> bytes:
    return b",".join(value for name, value in claims if name == wanted)


def _last(claims: HeaderList, wanted: bytes) -> bytes:
    """The value that the nearest proxy wrote: those before it may be the client's."""
    return _joined(claims, wanted).rpartition(b",")[2].strip()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, with or without a port; an IPv4-mapped one is the IPv4 address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
