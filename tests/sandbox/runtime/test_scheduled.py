"""What a schedule calls, with every kind of entrypoint."""

from __future__ import annotations

import pytest

from sandbox.payloads import Failed, Ready
from tests.sandbox.runtime.peer import Instance

AT = 1_795_210_800_000
TELL = "print(controller.cron, controller.scheduledTime, env.NAME, type(ctx).__name__)\n"
CLASS = f"""
from workers import Response, WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("asked")
    async def scheduled(self, controller, env, ctx):
        {TELL}
"""
FUNCTION = f"""
async def on_fetch(request):
    return "asked"
async def on_scheduled(controller, env, ctx):
    {TELL}
"""
ASGI = f"""
async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"asked"}})
async def on_scheduled(controller, env, ctx):
    {TELL}
"""
WSGI = f"""
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"asked"]
def scheduled(controller, env, ctx):
    {TELL}
"""
MIXED = f"""
def on_fetch(request):
    return "asked"
async def on_scheduled(controller, env, ctx):
    {TELL}
"""


@pytest.mark.parametrize("source", [CLASS, FUNCTION, ASGI, WSGI, MIXED])
def test_the_handler_is_called_beside_requests(instance: Instance, source: str) -> None:
    ready = instance.load(source, env={"NAME": "value"})
    assert isinstance(ready, Ready)
    assert ready.handlers == ["fetch", "scheduled"]
    for _ in range(2):
        assert instance.get().body == b"asked"
        reply = instance.schedule("*/5 * * * *", AT)
        assert (reply.status, reply.body, reply.exceptions) == (204, b"", [])
        assert [record.message for record in reply.logs] == [
            [f"*/5 * * * * {AT} value Context"],
        ]


def test_fewer_arguments_and_what_the_entrypoint_has(instance: Instance) -> None:
    instance.load(
        """
from workers import WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def fetch(self, request): ...
    async def scheduled(self, event):
        self.ctx.waitUntil(self.later(event))
    async def later(self, event):
        event.no_retry()
        print(event.cron, event.scheduled_time, self.env.NAME)
""",
        env={"NAME": "value"},
    )
    reply = instance.schedule("0 0 * * *", AT)
    assert reply.status == 204
    assert [record.message for record in reply.logs] == [[f"0 0 * * * {AT} value"]]


@pytest.mark.parametrize(
    ("source", "handlers"),
    [
        (CLASS.replace("async def scheduled", "async def unscheduled"), ["fetch"]),
        (ASGI.replace("on_scheduled", "on_something"), ["fetch"]),
        (WSGI.replace("def scheduled", "def schedule"), ["fetch"]),
    ],
)
def test_without_a_handler_it_is_said_which(
    instance: Instance, source: str, handlers: list[str]
) -> None:
    ready = instance.load(source)
    assert isinstance(ready, Ready)
    assert ready.handlers == handlers
    (error,) = instance.schedule("* * * * *", AT).exceptions
    assert error.name == "NoScheduledHandlerError"
    assert "scheduled(self, controller, env, ctx)" in error.message
    assert instance.get().body == b"asked"


@pytest.mark.parametrize(
    "source",
    [
        "class Default:\n    async def scheduled(self, controller): print('ran')",
        "def on_scheduled(controller): print('ran')",
    ],
)
def test_a_script_that_only_schedules_call(instance: Instance, source: str) -> None:
    ready = instance.load(source)
    assert isinstance(ready, Ready)
    assert (ready.kind, ready.handlers) == ("worker", ["scheduled"])
    (error,) = instance.get().exceptions
    assert error.name == "NoFetchHandlerError"
    assert [record.message for record in instance.schedule("* * * * *", AT).logs] == [["ran"]]


def test_neither_is_no_script(instance: Instance) -> None:
    failed = instance.load("class Default: ...")
    assert isinstance(failed, Failed)
    assert failed.reason == "entrypoint"


def test_what_it_raises_is_told_with_its_line(instance: Instance) -> None:
    instance.load("async def on_scheduled(controller):\n    raise ValueError('no')\n")
    reply = instance.schedule("* * * * *", AT)
    (error,) = reply.exceptions
    assert (error.name, error.message, reply.status) == ("ValueError", "no", 0)
    assert 'File "worker.py", line 2' in error.stack
