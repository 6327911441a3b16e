"""What goes wrong in tenant code, and what is said about it."""

from __future__ import annotations

import signal

import pytest

from tests.sandbox.runtime.peer import Instance, Reply


def serve(instance: Instance, body: str, kind: str = "async def") -> Reply:
    """Run a handler once, then see that the instance still serves."""
    lines = "\n".join("        " + line for line in body.strip().splitlines())
    source = f"{kind} on_fetch(request, env, ctx):\n    if 'ok' not in request.url:\n{lines}\n"
    instance.load(source + "    return 'still here'\n")
    reply = instance.get("/")
    after = instance.get("/ok")
    assert (after.body, after.exceptions) == (b"still here", [])
    return reply


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    ("body", "name", "sort"),
    [
        ("1 / 0", "ZeroDivisionError", "exception"),
        ("raise SystemExit(1)", "SystemExit", "exception"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "exception"),
        ("raise MemoryError", "MemoryError", "memory"),
        ("raise MemoryError('no write+execute memory')", "MemoryError", "exception"),
        ("f = lambda: f()\nf()", "RecursionError", "exception"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError", "exception"),
    ],
)
def test_uncaught_exceptions_are_reported(
    instance: Instance, kind: str, body: str, name: str, sort: str
) -> None:
    reply = serve(instance, body, kind)
    assert [(error.name, error.kind) for error in reply.exceptions] == [(name, sort)]
    assert not reply.status
    line = 2 + len(body.splitlines())
    assert f'File "worker.py", line {line}, in on_fetch' in reply.exceptions[0].stack
    assert "sandbox" not in reply.exceptions[0].stack
    assert len(reply.exceptions[0].stack) <= 16 * 1024


def test_causes_are_shown_and_huge_messages_are_cut(instance: Instance) -> None:
    reply = serve(
        instance,
        "try:\n    {}['key']\n"
        "except KeyError as e:\n    raise ValueError('\\ud800' * 99999) from e",
    )
    stack = reply.exceptions[0].stack
    assert "direct cause" in stack
    assert "KeyError: 'key'" in stack
    assert len(stack.encode()) <= 16 * 1024
    assert len(reply.exceptions[0].message.encode()) <= 4 * 1024


def test_hostile_str_does_not_hide_the_exception(instance: Instance) -> None:
    reply = serve(
        instance,
        "class Evil(Exception):\n    def __str__(self): raise SystemExit\nraise Evil",
    )
    assert reply.exceptions[0].name == "Evil"


def test_exception_in_a_stream_cuts_it(instance: Instance) -> None:
    reply = serve(
        instance,
        "from workers import Response\n"
        "async def chunks():\n    yield b'some'\n    raise ValueError('middle')\n"
        "return Response(chunks())",
    )
    assert (reply.status, reply.body, reply.ended) == (200, b"some", False)
    assert reply.exceptions[0].message == "middle"


def test_system_exit_in_a_task_of_the_tenants(instance: Instance) -> None:
    reply = serve(
        instance,
        "import asyncio\nasync def leave(): raise SystemExit(9)\n"
        "task = asyncio.create_task(leave())\nawait asyncio.sleep(0)\nawait asyncio.sleep(0)\n"
        "return 'survived'",
    )
    assert reply.body == b"survived"


def test_stopping_the_loop_does_not_stop_serving(instance: Instance) -> None:
    reply = serve(
        instance,
        "import asyncio\nasyncio.get_running_loop().stop()\nawait asyncio.sleep(0)\n"
        "for task in asyncio.all_tasks() - {asyncio.current_task()}: task.cancel()\n"
        "await asyncio.sleep(0)\nreturn 'survived'",
    )
    assert reply.body == b"survived"


def burn(instance: Instance, source: str) -> Reply:
    """Signal the CPU limit when the handler says that it burns."""
    instance.load(source)
    stream = instance.open()
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    instance.signal_until_done(stream, signal.SIGXCPU)
    assert instance.get("/ok").body == b"ok"
    return reply


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    "loop",
    [
        "while True: number += 1",
        "while True: await asyncio.sleep(0)",
        "while True: json.dumps(list(range(100)))",
        (
            "try:\n        while True:\n            number += 1\n            number += 1\n"
            "    except Exception: return 'swallowed'"
        ),
        (
            "try:\n        while True:\n            number += 1\n            number += 1\n"
            "    except BaseException: return 'swallowed'"
        ),
    ],
)
def test_cpu_limit_in_a_handler(instance: Instance, kind: str, loop: str) -> None:
    if "await" in loop and kind == "def":
        loop = "asyncio_run(spin())"
    source = f"""
import asyncio, json
from workers import run_sync as asyncio_run
async def spin():
    while True:
        await asyncio.sleep(0)
{kind} on_fetch(request):
    if "ok" in request.url: return "ok"
    number = 0
    print("burning")
    {loop}
"""
    reply = burn(instance, source)
    assert [error.kind for error in reply.exceptions] == ["cpu"]
    assert reply.exceptions[0].name == "CpuLimitExceeded"
    assert not reply.status


@pytest.mark.parametrize(
    "source",
    [
        (
            "async def app(scope, receive, send):\n"
            "    if scope['type'] == 'lifespan': return\n"
            "    if scope['path'] != '/ok':\n        print('burning')\n        while True: pass\n"
            "    await send({'type': 'http.response.start', 'status': 200})\n"
            "    await send({'type': 'http.response.body', 'body': b'ok'})"
        ),
        (
            "def app(environ, start_response):\n"
            "    if environ['PATH_INFO'] != '/ok':\n        print('burning')\n"
            "        while True: pass\n"
            "    start_response('200 OK', [])\n    return [b'ok']"
        ),
    ],
)
def test_cpu_limit_in_applications(instance: Instance, source: str) -> None:
    assert [error.kind for error in burn(instance, source).exceptions] == ["cpu"]


def test_cpu_limit_while_streaming(instance: Instance) -> None:
    source = """
from workers import Response
async def chunks():
    yield b"first"
    print("burning")
    while True: pass
async def on_fetch(request):
    return "ok" if "ok" in request.url else Response(chunks())
"""
    reply = burn(instance, source)
    assert (reply.body, reply.ended) == (b"first", False)
    assert [error.kind for error in reply.exceptions] == ["cpu"]


def test_cpu_limit_in_wait_until(instance: Instance) -> None:
    source = """
async def later():
    print("burning")
    while True: pass
async def on_fetch(request, env, ctx):
    if "ok" not in request.url:
        ctx.waitUntil(later())
    return "ok"
"""
    reply = burn(instance, source)
    assert (reply.body, reply.ended) == (b"ok", True)
    assert [error.kind for error in reply.exceptions] == ["cpu"]


def test_cpu_signal_between_requests_is_nobodys(instance: Instance) -> None:
    instance.load("async def on_fetch(request): return 'ok'")
    for _ in range(50):
        instance.signal(signal.SIGXCPU)
        assert instance.get().body == b"ok"


def test_cpu_limit_spares_the_other_requests(instance: Instance) -> None:
    source = """
import asyncio
gate = asyncio.Event()
async def on_fetch(request):
    if "wait" in request.url:
        print("waiting")
        await gate.wait()
        return "fine"
    if "ok" in request.url:
        gate.set()
        return "ok"
    print("burning")
    while True: pass
"""
    instance.load(source)
    patient = instance.open("/wait")
    instance.until(lambda: bool(instance.replies[patient].logs))
    greedy = instance.open("/burn")
    instance.until(lambda: bool(instance.replies[greedy].logs))
    instance.signal_until_done(greedy, signal.SIGXCPU)
    assert instance.get("/ok").body == b"ok"
    assert instance.finish(patient).body == b"fine"
    assert [error.kind for error in instance.replies[greedy].exceptions] == ["cpu"]


def test_cpu_limit_in_a_thread_is_flagged(instance: Instance) -> None:
    source = """
import asyncio, hashlib
def work():
    print("burning")
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000)
async def on_fetch(request):
    if "ok" not in request.url:
        await asyncio.to_thread(work)
    return "ok"
"""
    assert [error.kind for error in burn(instance, source).exceptions] == ["cpu"]
