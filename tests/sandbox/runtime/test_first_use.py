"""When an invocation asks for more CPU time: while packages build what its path needs once."""

from __future__ import annotations

import signal
import time

import pytest

from tests.sandbox.runtime.peer import Instance, Reply

BUILD = """
import os
def build(flag):
    open(flag + ".on", "w").close()
    while not os.path.exists(flag):
        pass
"""
WORKER = """
import vendored
from vendored import build
def own(flag):
    while True:
        build.__name__.upper()
async def on_fetch(request):
    if "first" in request.url:
        return "first"
    print("burning")
    {use}
    return "built"
"""
USES = {
    "a package": "build({flag!r})",
    "an import": "import lazy",
}


def burn(instance: Instance, use: str, *, paths: tuple[str, ...] = ("/",)) -> tuple[int, Reply]:
    """Let the last of the requests burn."""
    modules = {
        "worker.py": WORKER.format(use=use.format(flag=str(instance.app_dir / "flag"))),
        "python_modules/vendored/__init__.py": BUILD,
        "lazy.py": f"{BUILD}\nbuild({str(instance.app_dir / 'flag')!r})\n",
    }
    instance.load(modules)
    for path in paths[:-1]:
        assert instance.get(path).body == b"first"
    stream = instance.open(paths[-1])
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    return stream, reply


def build(instance: Instance, use: str, *, paths: tuple[str, ...] = ("/",)) -> tuple[int, Reply]:
    """Let it ask while it builds, and then be done with that."""
    stream, reply = burn(instance, use, paths=paths)
    flag = instance.app_dir / "flag"
    while not flag.with_suffix(".on").exists():
        time.sleep(0.001)
    instance.signal(signal.SIGXCPU)
    instance.until(lambda: bool(reply.asked or reply.done))
    assert reply.asked == 1
    flag.touch()
    return stream, reply


@pytest.mark.parametrize("use", USES)
def test_it_asks_and_goes_on_when_it_is_let(instance: Instance, use: str) -> None:
    stream, reply = build(instance, USES[use])
    assert instance.finish(stream).body == b"built"
    assert not reply.exceptions


def test_a_loop_of_its_own_ends_after_what_was_built(instance: Instance) -> None:
    stream, reply = build(instance, "build({flag!r}); own(None)")
    instance.signal_until_done(stream, signal.SIGXCPU)
    assert [error.kind for error in reply.exceptions] == ["cpu"]
    assert reply.asked == 1


@pytest.mark.parametrize("use", USES)
def test_it_ends_when_nobody_answers(instance: Instance, use: str) -> None:
    stream, reply = burn(instance, USES[use])
    instance.signal_until_done(stream, signal.SIGXCPU)
    assert [error.kind for error in reply.exceptions] == ["cpu"]


def test_its_own_loop_does_not_ask(instance: Instance) -> None:
    stream, reply = burn(instance, "own(None)")
    instance.signal_until_done(stream, signal.SIGXCPU)
    assert [error.kind for error in reply.exceptions] == ["cpu"]
    assert not reply.asked


def test_a_later_invocation_asks_for_what_its_own_path_builds(instance: Instance) -> None:
    stream, reply = build(instance, USES["a package"], paths=("/first", "/first", "/second"))
    assert instance.finish(stream).body == b"built"
    assert not reply.exceptions


def test_the_same_path_does_not_ask_again(instance: Instance) -> None:
    stream, _ = build(instance, USES["a package"])
    assert instance.finish(stream).body == b"built"
    (instance.app_dir / "flag").unlink()
    stream = instance.open("/?again")
    reply = instance.replies[stream]
    instance.until(lambda: bool(reply.logs))
    instance.signal_until_done(stream, signal.SIGXCPU)
    assert [error.kind for error in reply.exceptions] == ["cpu"]
    assert not reply.asked
