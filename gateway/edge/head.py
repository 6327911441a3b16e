"""What the head of a request says, once the fields are cleaned and the proxies accounted for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.bindings.hops import HEADER as HOPS
from gateway.config import Routing
from gateway.edge.forwarded import Forwarded, TrustedProxies
from gateway.edge.headers import clean_request_headers
from gateway.edge.proxy_header import Itself
from gateway.errors import BadRequest
from gateway.model.http import HeaderList
from gateway.routing.hosts import normalise_host

Peer = tuple[str, int] | None


class Head(NamedTuple):
    """The fields of a request, read."""

    known: Forwarded
    host: str
    """Normalised."""
    content_length: int | None
    has_body: bool
    accept: str
    tenant: str | None
    """Of the operator's tenant header, when a proxy in front set it."""
    hops: int


class LastHead:
    """The fields that came last on a connection, and what they said: most clients repeat them."""

    __slots__ = ("head", "raw")

    def __init__(self) -> None:
        self.raw: HeaderList | None = None
        self.head: Head | None = None


class HeadReader:
    """Reads heads as this node's configuration wants them read."""

    def __init__(self, routing: Routing, read_hops: Callable[[bytes], int]) -> None:
        self._proxies = TrustedProxies(routing.trusted_proxies)
        self._tenant_header = routing.tenant_header.lower().encode("latin-1")
        self._read_hops = read_hops

    def read_again(self, raw: HeaderList, scheme: str, peer: Peer, last: LastHead) -> Head:
        """The same as ``read``, for a connection whose last head is at hand."""
        if last.head is not None and last.raw == raw:
            return last.head
        head = self.read(raw, scheme, peer)
        last.raw, last.head = raw, head
        return head

    def read(self, raw: HeaderList, scheme: str, peer: Peer) -> Head:
        """Read the fields of a request. Raises BadRequest or HeadersTooLarge."""
        address = peer[0] if peer else ""
        known = self._proxies.resolve(
            address, scheme, clean_request_headers(raw), believed=not isinstance(peer, Itself)
        )
        if not known.authority:
            raise BadRequest("The request names no host.")
        if not known.authority.isascii():
            # Some servers would map it to the name of somebody else, some would not.
            raise BadRequest("The Host header must name an international host in its ASCII form.")
        try:
            host = normalise_host(known.authority)
        except ValueError as error:
            raise BadRequest(f"The Host header is not a host name: {error}.") from None
        return Head(known, host, *self._scan(raw, trusted=known.trusted))

    def _scan(
        self, raw: HeaderList, *, trusted: bool
    ) -> tuple[int | None, bool, str, str | None, int]:
        length: int | None = None
        body = False
        hops = 0
        accept = ""
        tenant: str | None = None
        for name, value in raw:
            if name == b"content-length":
                length = int(value) if value.isdigit() else None
                body = body or length != 0
            elif name == b"transfer-encoding":
                body = True
            elif name == b"accept":
                accept += "," + value.decode("latin-1") if accept else value.decode("latin-1")
            elif name == HOPS:
                hops = self._read_hops(value)
            elif trusted and self._tenant_header and name == self._tenant_header:
                tenant = value.decode("latin-1").strip().lower()
        return length, body, accept, tenant, hops
