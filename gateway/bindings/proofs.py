"""Where tenants show that a hostname is theirs: a TXT record, or a file on the web server it has.

Names and servers are strangers': answers are small, late ones do not count, and only addresses
that tenants may reach are connected to. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.resolver
import httpcore

from gateway.bindings.addresses import AddressPolicy
from gateway.bindings.egress import GuardedBackend, Resolver, SystemResolver
from gateway.config import Egress, HostnameRules
from gateway.model.claim import HTTP_PATH, TXT_NAME, Claim, split_address

SECONDS: Final = 5.0
AT_ONCE: Final = 16
MAX_ANSWER: Final = 1024
"""Longest body looked at, bytes."""
_TIMEOUTS: Final = dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)


class TxtProofs:
    """Asks the name servers; ``resolver`` is ``ADDRESS`` or ``ADDRESS:PORT``, empty the host's."""

    def __init__(self, resolver: str = "") -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not resolver)
        if resolver:
            address, port = split_address(resolver)
            self._resolver.nameservers = [address]
            self._resolver.port = port
        self._resolver.lifetime = SECONDS
        # A record that was looked for too early must not be remembered as absent.
        self._resolver.cache = None

    async def missing(self, hostname: str, claim: Claim) -> str:
        """Why no TXT record says so."""
        name = f"{TXT_NAME}.{hostname}"
        try:
            answer = await self._resolver.resolve(f"{name}.", "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return f"there is no TXT record {name}"
        except dns.exception.DNSException as error:
            return f"the TXT record {name} cannot be looked up: {type(error).__name__}"
        said = [b"".join(record.strings).strip() for record in answer]
        if any(hmac.compare_digest(text, claim.proof.encode()) for text in said):
            return ""
        return f"no TXT record {name} is the one expected"


class HttpProofs:
    """Asks the web server that the name leads to, on port 80."""

    def __init__(self, egress: Egress, resolver: Resolver | None = None, *, port: int = 80) -> None:
        policy = AddressPolicy(allow_private=egress.allow_private, allow=egress.allow)
        self._resolver = resolver or SystemResolver()
        self._backend = GuardedBackend(policy, self._resolver)
        self._port = port

    async def missing(self, hostname: str, claim: Claim) -> str:
        """Why no file says so."""
        path = f"{HTTP_PATH}/{claim.id}"
        try:
            async with asyncio.timeout(SECONDS):
                status, body = await self._get(hostname, path)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            return f"http://{hostname}{path} cannot be read: {type(error).__name__}"
        except TimeoutError:
            return f"http://{hostname}{path} did not answer within {SECONDS:g} s"
        if status != 200:
            return f"http://{hostname}{path} answered {status}, not 200"
        if not hmac.compare_digest(body.strip(), claim.proof.encode()):
            return f"http://{hostname}{path} is not the text expected"
        return ""

    async def _get(self, hostname: str, path: str) -> tuple[int, bytes]:
        url = httpcore.URL(scheme=b"http", host=hostname.encode(), port=self._port, target=path)
        async with (
            httpcore.AsyncConnectionPool(network_backend=self._backend) as pool,
            pool.stream(
                "GET",
                url,
                headers=[("Host", hostname), ("User-Agent", "waypost"), ("Connection", "close")],
                extensions={"timeout": _TIMEOUTS},
            ) as answer,
        ):
            body = b""
            async for chunk in answer.aiter_stream():
                body += chunk
                if len(body) > MAX_ANSWER:
                    break
            return answer.status, body

    def close(self) -> None:
        """Let go of threads."""
        self._resolver.close()


class FewProofs:
    """So many at once, and no more: strangers can be slow."""

    def __init__(self, proofs: TxtProofs | HttpProofs) -> None:
        self._proofs = proofs
        self._places = asyncio.Semaphore(AT_ONCE)

    async def missing(self, hostname: str, claim: Claim) -> str:
        """The same, in turn."""
        async with self._places:
            return await self._proofs.missing(hostname, claim)

    def close(self) -> None:
        """Let go of threads."""
        if isinstance(self._proofs, HttpProofs):
            self._proofs.close()


def proofs_of(rules: HostnameRules, egress: Egress) -> FewProofs | None:
    """What the settings ask tenants to show; None: nothing that could be looked at."""
    if rules.verification == "txt":
        return FewProofs(TxtProofs(rules.resolver))
    if rules.verification == "http":
        return FewProofs(HttpProofs(egress))
    return None
