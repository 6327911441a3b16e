"""Proofs of ownership, from a real name server and a real web server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rrset
import pytest

from gateway.bindings.proofs import HttpProofs, TxtProofs, proofs_of
from gateway.config import Egress, HostnameRules
from gateway.model.claim import Claim

pytestmark = pytest.mark.anyio

PROOF = "the-proof"
CLAIM = Claim("id1", PROOF, "acme", "production", "acme", 1)
NAME = "_cf-custom-hostname.shop.example."


class NameServer(asyncio.DatagramProtocol):
    """Knows a few TXT records."""

    def __init__(self, records: dict[str, list[str]]) -> None:
        self._records = records
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        name = query.question[0].name.to_text()
        if name in self._records:
            texts = self._records[name]
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *texts))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        assert self._transport is not None
        self._transport.sendto(answer.to_wire(), addr)  # type: ignore[arg-type]


@asynccontextmanager
async def names(records: dict[str, list[str]]) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer(records), local_addr=("127.0.0.1", 0)
    )
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ({NAME: ['"other"', f'"{PROOF}"']}, ""),
        ({NAME: ['"the-" "proof"']}, ""),
        ({NAME: ['"other"']}, "is the one expected"),
        ({}, "there is no TXT record _cf-custom-hostname.shop.example"),
        ({"shop.example.": [f'"{PROOF}"']}, "there is no TXT record"),
    ],
)
async def test_txt(records: dict[str, list[str]], problem: str) -> None:
    async with names(records) as server:
        said = await TxtProofs(server).missing("shop.example", CLAIM)
    assert problem in said
    assert bool(said) == bool(problem)


async def test_a_name_server_that_is_not_there() -> None:
    async with names({}) as server:
        pass
    proofs = TxtProofs(server)
    proofs._resolver.lifetime = 0.2
    assert "cannot be looked up" in await proofs.missing("shop.example", CLAIM)


class Loopback:
    """Every name leads here."""

    async def resolve(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    def close(self) -> None:
        pass


@asynccontextmanager
async def web(answer: bytes, seen: list[bytes]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def reply(status: str, body: str, *fields: str) -> bytes:
    head = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (reply("200 OK", PROOF), ""),
        (reply("200 OK", f"{PROOF}\n"), ""),
        (reply("200 OK", "other"), "is not the text expected"),
        (reply("200 OK", PROOF + "x" * 100_000), "is not the text expected"),
        (reply("404 Not Found", PROOF), "answered 404"),
        (reply("301 Moved", PROOF, "Location: http://127.0.0.1/"), "answered 301"),
        (b"nonsense\r\n\r\n", "cannot be read"),
    ],
)
async def test_http(answer: bytes, problem: str) -> None:
    seen: list[bytes] = []
    egress = Egress(allow=("127.0.0.0/8",))
    async with web(answer, seen) as port:
        said = await HttpProofs(egress, Loopback(), port=port).missing("shop.example", CLAIM)
    assert problem in said
    assert bool(said) == bool(problem)
    line, host = seen[0].split(b"\r\n")[:2]
    assert line == b"GET /.well-known/cf-custom-hostname-challenge/id1 HTTP/1.1"
    assert host == b"Host: shop.example"


async def test_the_proof_is_not_fetched_from_inside() -> None:
    seen: list[bytes] = []
    async with web(reply("200 OK", PROOF), seen) as port:
        said = await HttpProofs(Egress(), Loopback(), port=port).missing("shop.example", CLAIM)
    assert "EgressDenied" in said
    assert seen == []


async def test_what_the_rules_ask_for() -> None:
    for rule in ("off", "operator"):
        assert proofs_of(HostnameRules(verification=rule), Egress()) is None
    for rule in ("txt", "http"):
        proofs = proofs_of(HostnameRules(verification=rule, resolver="127.0.0.1"), Egress())
        assert proofs is not None
        proofs.close()
