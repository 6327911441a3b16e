"""Where control requests come from, seen through the operator's proxies."""

from __future__ import annotations

from starlette.requests import Request

from gateway.api.services import peer_address
from gateway.edge.forwarded import Forwarded, TrustedProxies


class ControlAddresses:
    """Where control requests come from, seen through the operator's proxies."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._proxies = TrustedProxies(trusted)

    def client(self, request: Request) -> str:
        """The address."""
        return self._resolve(request).client

    def origin(self, request: Request) -> tuple[str, str]:
        """Scheme and authority that were asked for."""
        seen = self._resolve(request)
        return seen.scheme, seen.authority

    def _resolve(self, request: Request) -> Forwarded:
        scheme = request.url.scheme
        return self._proxies.resolve(peer_address(request), scheme, request.headers.raw)
