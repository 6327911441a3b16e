"""A TLS front gets certificates for names that lead somewhere, and not for all that are asked."""

from __future__ import annotations

import pytest

from gateway.routing.ask import BURST, LOOKUPS_PER_SECOND, CertificateNames

pytestmark = pytest.mark.anyio


class Names:
    """What of the resolver is asked."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.memory: set[str] = set()
        self.lookups = 0

    def remembers(self, host: str) -> bool:
        return host in self.memory & self.known

    async def answers_to(self, host: str) -> bool:
        if host not in self.memory:
            self.lookups += 1
            self.memory.add(host)
        return host in self.known


async def test_names_that_cannot_be() -> None:
    names = CertificateNames(Names("a.b"))  # type: ignore[arg-type]
    for domain in ("", "a b", "a.b:443", "[::1]", "::1", "*.a.b", "x" * 300, "a/b", "a\x00.b", "."):
        assert await names.allows(domain) is False, domain


async def test_names_are_brought_to_one_form() -> None:
    names = CertificateNames(Names("shop.example.org"))  # type: ignore[arg-type]
    assert await names.allows("Shop.Example.ORG.")
    assert await names.allows("shop.example.com") is False


async def test_unknown_names_are_rationed_and_known_ones_are_not() -> None:
    now = 0.0
    known = Names("known.example")
    names = CertificateNames(known, clock=lambda: now)  # type: ignore[arg-type]
    assert await names.allows("known.example") is True
    answers = [await names.allows(f"n{i}.example") for i in range(BURST + 50)]
    assert answers.count(None) == 51
    assert known.lookups == BURST
    assert await names.allows("known.example") is True
    now = 1.0
    answers = [await names.allows(f"m{i}.example") for i in range(100)]
    assert answers.count(False) == LOOKUPS_PER_SECOND
