"""Which modules are compiled, and what is made of a hostile compiler's answer."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from gateway.model.script import Bytecode, Module, ScriptKey, Version
from gateway.pool import bytecode
from gateway.pool.bytecode import INTERPRETER, WORTH_BYTES, Compiler
from sandbox import (
    HostUnfit,
    Sandbox,
    SandboxSpec,
    SpawnLost,
    Supervisor,
    SupervisorSettings,
    Watchdog,
    protocol,
)
from sandbox.protocol import END, FrameType, encode

pytestmark = pytest.mark.anyio
TAG = sys.implementation.cache_tag


def modules(*names: str) -> list[Module]:
    return [Module(name, "text/x-python", b"x = 1") for name in names]


def test_own_modules_come_before_packages_and_brought_bytecode_stays() -> None:
    bundle = modules(
        "python_modules/b.py",
        "main.py",
        "data.txt",
        "pkg/brought.py",
        f"pkg/__pycache__/brought.{TAG}.pyc",
        "pkg/brought_for_another.py",
        "pkg/__pycache__/brought_for_another.cpython-20.pyc",
    )
    assert [bundle[position].name for position in bytecode._choose(bundle)] == [
        "main.py",
        "pkg/brought_for_another.py",
        "python_modules/b.py",
    ]


def test_an_answer_is_cut_off_anywhere_and_whole_modules_are_kept() -> None:
    pieces = {4: b"aaa", 1: b"", 2: b"cc"}
    answer = b"".join(len(piece).to_bytes(4, "little") + piece for piece in pieces.values())
    for end in range(len(answer) + 1):
        found = bytecode._collect(5, list(pieces), answer[:end])
        assert sum(found.sizes) == len(found.content)
        if end < 7:
            assert found == Bytecode(INTERPRETER)
        else:
            assert found.sizes == (0, 0, 2 if end == len(answer) else 0, 0, 3)
            assert found.content == (b"ccaaa" if end == len(answer) else b"aaa")


def test_a_length_that_nothing_has_takes_nothing() -> None:
    assert bytecode._collect(1, [0], b"\xff" * 4 + b"x") == Bytecode(INTERPRETER)


BODY = FrameType.BODY


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (encode(BODY, 0, b"a") + encode(BODY, 0, b"b", END) + encode(BODY, 0, b"c"), b"ab"),
        (encode(BODY, 0, b"a") + b"\xff" * 12, b""),
        (encode(FrameType.READY, 0, b"a"), b""),
        (encode(BODY, 0, b"") * 1000, b""),
        (encode(BODY, 0, b"a" * protocol.CHUNK), b""),
    ],
)
async def test_what_a_hostile_compiler_says_is_bounded(said: bytes, kept: bytes) -> None:
    answer = bytecode._Answer(1000)
    answer.data_received(said)
    assert await asyncio.wait_for(answer.whole, 30) == kept


async def test_a_compiler_that_dies_leaves_what_it_said_before() -> None:
    answer = bytecode._Answer(1000)
    answer.data_received(encode(BODY, 0, b"before"))
    answer.connection_lost(None)
    assert await asyncio.wait_for(answer.whole, 30) == b"before"


class Shelf:
    """Keeps one version, and what it was compiled to."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self.kept: Bytecode | None = None

    async def get_version(self, version_id: str) -> Version | None:
        return self._version

    async def put_bytecode(self, version_id: str, bytecode: Bytecode) -> None:
        self.kept = bytecode

    async def get_bytecode(self, version_id: str, interpreter: str) -> Bytecode | None:
        return self.kept


@pytest.mark.isolation
async def test_of_a_compiler_that_somebody_kills_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Module("main.py", "text/x-python", b"x = 1\n" * WORTH_BYTES)
    key = ScriptKey("production", "acme")
    version = Version(
        id="v", key=key, tenant="acme", etag="", created_ms=0, main_module="main.py",
        modules=(source,),
    )  # fmt: skip
    shelf, supervisor, watchdog = Shelf(version), Supervisor(SupervisorSettings()), Watchdog()
    spawn = supervisor.spawn

    async def spawn_and_kill(spec: SandboxSpec) -> Sandbox:
        sandbox = await spawn(spec)
        os.kill(sandbox.pid, signal.SIGKILL)
        return sandbox

    compiler = Compiler(supervisor, watchdog, shelf, cpu_ms=10_000, max_bytes=1 << 20)
    try:
        await supervisor.start()
        monkeypatch.setattr(supervisor, "spawn", spawn_and_kill)
        with pytest.raises(SpawnLost):
            await compiler._compile("v")
        assert shelf.kept is None
        monkeypatch.undo()
        await compiler._compile("v")
        assert shelf.kept is not None
        assert shelf.kept.content
    except HostUnfit as error:
        pytest.skip(str(error))
    finally:
        await supervisor.close()
        watchdog.close()
