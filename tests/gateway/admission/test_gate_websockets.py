"""Admission of WebSockets: a count of their own, beside the requests'."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from gateway.admission.gate import Gate
from gateway.errors import LoadShed
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.script import ScriptKey, TenantStatus
from tests.support.requests import a_request

pytestmark = pytest.mark.anyio
ROUTE = Route(
    key=ScriptKey("production", "acme"),
    tenant="acme",
    version_id="v",
    plan="free",
    limits=Limits(concurrency=1, websockets=2),
    status=TenantStatus.ACTIVE,
)
PLAIN = a_request()
SOCKET = a_request(websocket=True)


async def test_one_too_many_is_shed_at_once() -> None:
    gate = Gate(queue_seconds=60)
    async with gate.admit(SOCKET, ROUTE), gate.admit(SOCKET, ROUTE):
        with pytest.raises(LoadShed, match="2 WebSockets"):
            async with gate.admit(SOCKET, ROUTE):
                pass
    async with gate.admit(SOCKET, ROUTE), gate.admit(SOCKET, ROUTE):
        pass


async def test_open_ones_take_no_requests_place_nor_the_other_way_round() -> None:
    gate = Gate(queue_seconds=0.01)
    async with AsyncExitStack() as stack:
        for request in (SOCKET, PLAIN, SOCKET):
            await stack.enter_async_context(gate.admit(request, ROUTE))
        with pytest.raises(LoadShed, match="waited"):
            async with gate.admit(PLAIN, ROUTE):
                pass
    async with gate.admit(PLAIN, ROUTE):
        pass
