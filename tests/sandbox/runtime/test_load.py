"""From INIT to READY or FAILED."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.errors import ProtocolError
from sandbox.payloads import Failed, Ready
from sandbox.protocol import END, FrameType, encode
from sandbox.runtime.channel import Channel
from sandbox.runtime.content import Content
from sandbox.runtime.loader import write_modules
from tests.sandbox.runtime.peer import Instance

ASGI = """
async def app(scope, receive, send):
    pass
"""
WSGI = """
def application(environ, start_response):
    pass
"""


@pytest.mark.parametrize(
    ("source", "kind", "concurrent"),
    [
        ("class Default:\n    async def fetch(self, request): ...", "worker", True),
        ("class Default:\n    def fetch(self, request): ...", "worker", False),
        ("async def on_fetch(request, env, ctx): ...", "worker", True),
        ("def on_fetch(request): ...", "worker", False),
        (ASGI, "asgi", True),
        ("class A:\n    async def __call__(self, s, r, t): ...\napp = A()", "asgi", True),
        ("class A:\n    def __call__(self, s, r, t): ...\napp = A()", "asgi", True),
        (
            "class app:\n    def __init__(self, s, r, t): ...\n    def __await__(self): ...",
            "asgi",
            True,
        ),
        (WSGI, "wsgi", False),
        (
            "class app:\n    def __init__(self, e, s): ...\n    def __iter__(self): ...",
            "wsgi",
            False,
        ),
        ("class A:\n    def __call__(self, e, s): ...\napp = A()", "wsgi", False),
        ("async def on_fetch(request): ...\n" + WSGI, "worker", True),
        ("import fastapi\napp = fastapi.FastAPI()", "asgi", True),
        ("import flask\napp = flask.Flask('a')", "wsgi", False),
    ],
)
def test_entrypoint_is_found(instance: Instance, source: str, kind: str, concurrent: bool) -> None:
    ready = instance.load(source)
    assert isinstance(ready, Ready)
    assert (ready.kind, ready.concurrent) == (kind, concurrent)


@pytest.mark.parametrize(
    "source",
    [
        """
class app:
    def __init__(self, environ, start_response):
        start_response("200 OK", [])
    def __iter__(self):
        yield b"made for each"
""",
        """
class app:
    def __init__(self, scope, receive, send):
        self.send = send
    def __await__(self):
        return self.answer().__await__()
    async def answer(self):
        await self.send({"type": "http.response.start", "status": 200})
        await self.send({"type": "http.response.body", "body": b"made for each"})
""",
    ],
    ids=["WSGI", "ASGI"],
)
def test_a_class_may_be_the_application(instance: Instance, source: str) -> None:
    assert isinstance(instance.load(source), Ready)
    assert [instance.get().body for _ in range(2)] == [b"made for each"] * 2


def test_named_entrypoint_wins(instance: Instance) -> None:
    source = "async def on_fetch(request): ...\nasync def other(scope, receive, send): ..."
    ready = instance.load(source, entrypoint="other")
    assert isinstance(ready, Ready)
    assert ready.kind == "asgi"


def test_other_events_are_listed(instance: Instance) -> None:
    source = """
from workers import WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def fetch(self, request): ...
    async def scheduled(self, controller, env, ctx): ...
"""
    ready = instance.load(source)
    assert isinstance(ready, Ready)
    assert ready.handlers == ["fetch", "scheduled"]


def test_syntax_error_names_the_tenants_line(instance: Instance) -> None:
    modules = {"worker.py": "import helper\n", "helper.py": "x = 1\ndef broken(:\n"}
    failed = instance.load(modules)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.name) == ("code", "SyntaxError")
    assert (failed.file, failed.line) == ("helper.py", 2)
    assert 'File "helper.py", line 2' in failed.stack
    assert instance.wait() == 0


def test_top_level_error_names_the_tenants_line(instance: Instance) -> None:
    modules = {
        "src/worker.py": "from lib.parts import go\n\ngo()\n",
        "lib/__init__.py": "",
        "lib/parts.py": "import json\ndef go():\n    return json.loads('{')\n",
    }
    failed = instance.load(modules, main="src/worker.py")
    assert isinstance(failed, Failed)
    assert (failed.name, failed.file, failed.line) == ("JSONDecodeError", "lib/parts.py", 3)
    assert failed.stack.index("src/worker.py") < failed.stack.index("lib/parts.py")
    assert "json/decoder.py" in failed.stack
    assert "sandbox/runtime" not in failed.stack
    assert str(instance.app_dir) not in failed.stack


@pytest.mark.parametrize(
    ("source", "reason", "name"),
    [
        ("x = 1", "entrypoint", "EntrypointError"),
        ("class Default: ...", "entrypoint", "EntrypointError"),
        ("class S:\n def __call__(self): ...\napp = S()", "entrypoint", "EntrypointError"),
        ("raise MemoryError", "memory", "MemoryError"),
        ("raise MemoryError('Cannot allocate write+execute memory')", "code", "MemoryError"),
        ("raise SystemExit(3)", "code", "SystemExit"),
        ("raise KeyboardInterrupt", "code", "KeyboardInterrupt"),
        ("import nothing_like_this", "code", "ModuleNotFoundError"),
    ],
)
def test_what_cannot_start_says_why(
    instance: Instance, source: str, reason: str, name: str
) -> None:
    failed = instance.load(source)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.name) == (reason, name)


def test_missing_main_module(instance: Instance) -> None:
    failed = instance.load({"other.py": ""}, main="worker.py")
    assert isinstance(failed, Failed)
    assert failed.reason == "entrypoint"
    assert "worker.py" in failed.message


@pytest.mark.parametrize("name", ["asgi", "js", "json", "worker-one"])
def test_main_module_may_have_any_name(instance: Instance, name: str) -> None:
    source = "async def on_fetch(request):\n    return __name__"
    assert isinstance(instance.load(source, main=f"{name}.py"), Ready)
    assert instance.get().body.decode() == name


def test_modules_import_each_other_and_their_vendored_packages(instance: Instance) -> None:
    modules = {
        "src/worker.py": (
            "import sibling, vendored\n"
            "from src import sibling as same\n"
            "async def on_fetch(request):\n"
            "    return f'{sibling.NAME} {vendored.NAME} {open(vendored.DATA).read()}'\n"
        ),
        "src/sibling.py": "NAME = 'sibling'",
        "python_modules/vendored/__init__.py": (
            "import os\nNAME = 'vendored'\n"
            "DATA = os.path.join(os.path.dirname(__file__), 'data.txt')"
        ),
        "python_modules/vendored/data.txt": "data",
    }
    assert isinstance(instance.load(modules, main="src/worker.py"), Ready)
    assert instance.get().body == b"sibling vendored data"


@pytest.mark.parametrize("name", ["../a.py", "/a.py", "a/../../b", "a\0.py", "", "a//b", "./a"])
def test_module_names_cannot_leave_the_bundle(tmp_path: Path, name: str) -> None:
    with received(b"x") as content, pytest.raises(ProtocolError, match="not a plain relative path"):
        write_modules(str(tmp_path / "app"), [(name, 1)], content)
    assert not list(tmp_path.rglob("*.py"))


@pytest.mark.parametrize(("size", "why"), [(3, "fewer bytes than"), (1, "1 bytes more than")])
def test_module_sizes_must_add_up(tmp_path: Path, size: int, why: str) -> None:
    with received(b"xx") as content, pytest.raises(ProtocolError, match=why):
        write_modules(str(tmp_path), [("a.py", size)], content)


@contextmanager
def received(data: bytes) -> Iterator[Content]:
    """What an instance reads that was sent this, and the end in a frame of its own."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode(FrameType.BODY, 0, data) + encode(FrameType.BODY, 0, b"", END))
        yield Content(Channel(theirs), ended=False)


def test_cpu_limit_at_import(instance: Instance) -> None:
    source = "print('burning')\nwhile True:\n    x = 1\n"
    instance.signal_after_log = signal.SIGXCPU
    failed = instance.load(source)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.name) == ("cpu", "CpuLimitExceeded")
    assert failed.file == "worker.py"


def test_cpu_limit_at_import_cannot_be_swallowed(instance: Instance) -> None:
    source = """
print('burning')
try:
    while True:
        x = 1
        y = 2
except BaseException:
    pass
async def on_fetch(request): ...
"""
    instance.signal_after_log = signal.SIGXCPU
    failed = instance.load(source)
    assert isinstance(failed, Failed)
    assert failed.reason == "cpu"


def test_print_at_import_belongs_to_no_invocation(instance: Instance) -> None:
    instance.load("print('loading')\nasync def on_fetch(request): ...")
    assert [log.message for log in instance.outside] == [["loading"]]


def test_drain_before_code_ends_a_spare(instance: Instance) -> None:
    instance.drain()
    assert instance.wait() == 0


def test_the_wire_closing_ends_the_instance(instance: Instance) -> None:
    instance.load("async def on_fetch(request): ...")
    instance.wire.close()
    assert instance.wait() == 0


def test_a_missing_package_comes_with_the_ways_to_bring_it(instance: Instance) -> None:
    failed = instance.load("import nowhere_to_be_found\n")
    assert isinstance(failed, Failed)
    assert failed.message.startswith("No module named 'nowhere_to_be_found'. The bundle may bring")
    assert "runtime.packages" in failed.message


def test_relative_paths_lead_to_the_bundle(instance: Instance) -> None:
    source = """
import os
with open("data/greeting.txt") as file:
    greeting = file.read()
def on_fetch(request):
    return greeting + (" from here" if os.path.samefile(".", os.path.dirname(__file__)) else "")
"""
    instance.load({"worker.py": source, "data/greeting.txt": "hello"})
    assert instance.get().body == b"hello from here"
