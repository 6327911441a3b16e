"""Invocations to observe."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gateway.model.http import Request
from gateway.model.invocation import Invocation
from gateway.model.plan import Limits
from gateway.model.route import Route
from gateway.model.schedule import Scheduled
from gateway.model.script import ScriptKey, TenantStatus
from sandbox import Outcome

Build = Callable[..., Invocation]


@pytest.fixture
def build() -> Build:
    """Builds a finished invocation; any field of it or of its route can be given."""

    def make(script: str | None = "acme-shop", tenant: str = "acme", **given: object) -> Invocation:
        request = Request(
            ray="ray-1",
            method="GET",
            scheme="http",
            host="acme-shop.localhost",
            authority="acme-shop.localhost:8787",
            path=b"/cart",
            query=b"a=1",
            headers=[(b"accept", b"*/*")],
            client=("203.0.113.9", 4711),
            accept="*/*",
        )
        route = None
        if "cron" in given:
            key = ScriptKey("production", script or "")
            request = Request("ray-1", "", "", "", "", b"", b"", [], None, "")
            request.scheduled = Scheduled(key, str(given.pop("cron")), 1_700_000_000_000)
        if script is not None:
            route = Route(
                key=ScriptKey("production", script),
                tenant=tenant,
                version_id="v1",
                plan="free",
                limits=Limits(),
                status=TenantStatus.ACTIVE,
            )
        invocation = Invocation(
            request=request,
            timestamp_ms=1_700_000_000_123,
            started_ns=1,
            route=route,
            outcome=Outcome.OK,
            status=200,
            cpu_ns=1_234_567,
            wall_ns=3_000_000,
            queue_ns=200_000,
            bytes_out=11,
        )
        return msgspec.structs.replace(invocation, **given)

    return make
