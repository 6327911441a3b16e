"""Frames of one tenant's WebSockets are read in its turns, however many clients send them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from gateway.admission.turnstile import AT_ONCE, SHARE, Turnstile
from gateway.edge.cork import CorkedTransport
from gateway.edge.websocket import FRAMES_A_TURN, SENT_FOR_ONE, ClientSocket
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from gateway.model.websocket import Part

pytestmark = pytest.mark.anyio

CLIENTS = 20
FRAMES = 100
MASKED = b"\x81\x81\x00\x00\x00\x00x"


def route(tenant: str) -> Route:
    return Route(
        key=ScriptKey("production", tenant),
        tenant=tenant,
        version_id="v",
        plan="free",
        limits=Limits(),
        status=TenantStatus.ACTIVE,
    )


@pytest.fixture
async def clients() -> AsyncIterator[list[ClientSocket]]:
    """WebSockets of one tenant, the other ends of which say nothing by themselves."""
    loop, turnstile = asyncio.get_running_loop(), Turnstile(queue_seconds=60)
    made, ends, transports = [], [], []
    for _ in range(CLIENTS):
        here, there = socket.socketpair()
        ends.append(there)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        transports.append(transport)
        corked = CorkedTransport(transport, loop, 30.0, lambda: None)
        one = ClientSocket(corked, FlowControl(transport), max_message=1024, ping_seconds=60)
        one.pace = turnstile.pace(route("heavy"))
        made.append(one)
    yield made
    assert turnstile.waiting == {}
    for one, transport, there in zip(made, transports, ends, strict=True):
        one.lost()
        transport.abort()
        there.close()
    await asyncio.sleep(0)


async def test_a_turn_reads_so_many_frames_of_all_a_tenants_clients(
    clients: list[ClientSocket],
) -> None:
    read = 0

    async def drain(client: ClientSocket) -> None:
        nonlocal read
        for _ in range(FRAMES):
            part = await client.receive()
            assert part == Part(text=True, data=b"x", last=True)
            read += 1

    tasks = [asyncio.create_task(drain(client)) for client in clients]
    await asyncio.sleep(0)
    for client in clients:
        client.feed(MASKED * FRAMES)
    most = AT_ONCE + SHARE + FRAMES_A_TURN
    turns = 0
    while not all(task.done() for task in tasks):
        before = read
        await asyncio.sleep(0)
        turns += 1
        assert read - before <= 2 * most
    await asyncio.gather(*tasks)
    assert turns >= CLIENTS * FRAMES // (2 * most)


async def test_a_turn_sends_so_many_frames_to_all_a_tenants_clients(
    clients: list[ClientSocket],
) -> None:
    sent = 0

    async def blast(client: ClientSocket) -> None:
        nonlocal sent
        for _ in range(2 * FRAMES):
            await client.send(Part(text=True, data=b"x", last=True))
            sent += 1

    tasks = [asyncio.create_task(blast(client)) for client in clients]
    await asyncio.sleep(0)  # all begin
    turns = 0
    while not all(task.done() for task in tasks):
        before = sent
        await asyncio.sleep(0)
        turns += 1
        assert sent - before <= 2 * SENT_FOR_ONE * (AT_ONCE + SHARE + FRAMES_A_TURN)
    await asyncio.gather(*tasks)
    assert turns > 1
