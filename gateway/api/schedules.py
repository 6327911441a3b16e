"""Schedules of a script (cron triggers): listing, replacing, and calling one at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.body import read_json
from gateway.api.endpoint import Call, endpoint, on_script
from gateway.api.faces import envelope, plain
from gateway.api.present import timestamp
from gateway.api.services import Services
from gateway.model import cron
from gateway.model.script import Script, ScriptKey

RUN = "/v1/scripts/{name}/schedules/run"
NO_HANDLER = (
    "the script that serves has no handler for schedules; each call will fail until it defines"
    " scheduled(self, controller, env, ctx) in class Default, or on_scheduled(controller, env, ctx)"
)


class NewSchedule(msgspec.Struct):
    """One of the list that is the body of a PUT."""

    cron: str


class RunBody(msgspec.Struct):
    """Body of a POST."""

    cron: str | None = None
    """None: the script's only schedule."""
    namespace: str | None = None


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        *on_script(services, "/schedules", "GET", _get),
        *on_script(services, "/schedules", "PUT", _put),
        endpoint(services, RUN, "POST", _run),
    ]


async def _get(call: Call) -> Response:
    script = await call.services.schedules.get(call.script_key, scope=call.account_scope)
    return envelope({"schedules": await asyncio.to_thread(_shown, script)})


async def _put(call: Call) -> Response:
    """Replace a script's schedules."""
    body = await read_json(call.request, list[NewSchedule])
    script = await call.services.schedules.put(
        call.script_key, [item.cron for item in body], scope=call.account_scope
    )
    notes = [NO_HANDLER] if script.crons and "scheduled" not in script.handlers else []
    return envelope({"schedules": await asyncio.to_thread(_shown, script)}, notes=notes)


async def _run(call: Call) -> Response:
    """Call a script at once, as a schedule would, and say how it went."""
    body = await read_json(call.request, RunBody, optional=True)
    namespace = body.namespace or call.services.config.default_namespace
    key = ScriptKey(namespace, call.path("name"))
    expression, ran = await call.services.schedules.run(key, body.cron, scope=call.scope)
    return plain(
        {
            "cron": expression,
            "outcome": ran.outcome.value,
            "code": ran.code,
            "fault": ran.fault,
            "ray": ran.request.ray,
            "cpu_ms": round(ran.cpu_ns / 1e6, 3),
            "wall_ms": round(ran.wall_ns / 1e6, 3),
            "logs": [{"level": log.level, "message": log.message} for log in ran.logs],
            "exceptions": [
                {"name": error.name, "message": error.message, "stack": error.stack}
                for error in ran.exceptions
            ],
        }
    )


def _shown(script: Script) -> list[dict[str, Any]]:
    now = int(time.time()) // 60
    return [
        {
            "cron": item.cron,
            "created_on": timestamp(item.created_ms),
            "modified_on": timestamp(item.modified_ms),
            "waypost": {"next": _next(item.cron, now)},
        }
        for item in script.crons
    ]


def _next(expression: str, minute: int) -> str | None:
    following = cron.parse(expression).next_after(minute)
    return None if following is None else timestamp(following * 60_000)
