"""A hostname that a tenant says is its own, and what has to be shown for it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, Protocol

import msgspec

from gateway.model.route import HostnameRecord

TXT_NAME: Final = "_cf-custom-hostname"
HTTP_PATH: Final = "/.well-known/cf-custom-hostname-challenge"


class Claim(msgspec.Struct, frozen=True, rename="camel"):
    """A hostname that a tenant wants; stored as ``claim:<tenant>:<hostname>``."""

    id: str
    proof: str
    """What only whoever controls the name can publish."""
    worker_name: str
    namespace: str
    tenant: str
    created_ms: int

    @property
    def record(self) -> HostnameRecord:
        """Where the hostname leads once it is shown."""
        return HostnameRecord(self.worker_name, self.namespace, self.tenant)


class Proofs(Protocol):
    """Looks for what a tenant has published."""

    async def missing(self, hostname: str, claim: Claim) -> str:
        """Why the claim is not shown to be true; empty when it is."""


class NoProofs:
    """Nothing can be shown: the operator decides."""

    async def missing(self, hostname: str, claim: Claim) -> str:
        """Always the same."""
        return "the operator has to approve this hostname"


def split_address(text: str) -> tuple[str, int]:
    """``192.0.2.1``, ``192.0.2.1:53``, ``[2001:db8::1]:53``. Raises ValueError."""
    address, port = text, "53"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r:.40} is no port")
    return str(ip_address(address)), int(port)
