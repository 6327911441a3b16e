"""The start of an instance: the code that it is sent, and what is said when it does not load."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.model.script import Bytecode, Module
from gateway.pool.channel import Channel
from gateway.pool.startup import Code, Startup
from gateway.pool.verdict import failed_start
from sandbox import Outcome, ProtocolError, protocol
from sandbox.payloads import Init, Ready, decode_struct
from sandbox.protocol import CHUNK, END, FrameType

pytestmark = pytest.mark.anyio

LONG = Module("a.py", "text/x-python", b"a" * (CHUNK + 1))
SHORT = Module("b.py", "text/x-python", b"b")
INIT = Init([("a.py", CHUNK + 1), ("b.py", 1)], "a.py", None, {}, "acme", "v")


async def received(code: Code) -> tuple[Init, bytes]:
    """What a process reads of it: the first frame, and all bytes after it."""
    ours, theirs = socket.socketpair()
    startup = Startup()
    channel = Channel(
        on_ready=startup.on_loaded,
        on_broken=lambda _: None,
        on_exception=lambda _, __: None,
        cpu_ns=lambda: 0,
    )
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    try:
        code.send(channel)
        decoder = protocol.Decoder(protocol.FROM_GATEWAY)
        frames: list[protocol.Frame] = []
        while not frames or frames[-1].flags != END:
            data = await reader.read(1 << 16)
            assert data
            frames += decoder.feed(data)
    finally:
        channel.close()
        writer.close()
        await writer.wait_closed()
    first, *rest = frames
    assert first.type == FrameType.INIT
    assert {(frame.type, frame.stream) for frame in rest} == {(FrameType.BODY, 0)}
    assert max(len(frame.payload) for frame in rest) <= CHUNK
    return decode_struct(Init, first.payload), b"".join(frame.payload for frame in rest)


async def test_modules_come_one_after_the_other() -> None:
    init, content = await received(Code(INIT, (LONG, SHORT), None))
    assert init == INIT
    assert content == LONG.content + SHORT.content


async def test_what_they_were_compiled_to_comes_before_them() -> None:
    compiled = Bytecode("python", (3, 0), b"xyz")
    init, content = await received(Code(INIT, (LONG, SHORT), compiled))
    assert init.bytecode == [3, 0]
    assert content == b"xyz" + LONG.content + SHORT.content


async def test_sizes_that_fit_no_frame_stay_away_with_what_was_compiled() -> None:
    compiled = Bytecode("python", (1 << 31,) * (protocol.MAX_FRAME // 5 + 1), b"xyz")
    init, content = await received(Code(INIT, (SHORT,), compiled))
    assert init == INIT
    assert content == SHORT.content


async def test_a_process_is_ready_once() -> None:
    startup = Startup()
    assert not startup.over
    startup.on_loaded(Ready("worker", True, ["fetch"]))
    with pytest.raises(ProtocolError):
        startup.on_loaded(Ready("worker", True, ["fetch"]))
    startup.on_end()
    assert startup.over


@pytest.mark.parametrize(
    ("outcome", "reason", "said"),
    [
        (Outcome.EXCEEDED_CPU, "cpu", "Script startup exceeded CPU time limit."),
        (Outcome.EXCEEDED_MEMORY, "memory", "Script startup exceeded memory limit."),
        (Outcome.EXCEEDED_WALL_TIME, "wall", "Script startup took too long."),
        (Outcome.EXCEPTION, "code", "The process fell over while it loaded."),
        (None, "code", "The process fell over while it loaded."),
    ],
)
def test_who_uploads_is_told_why_it_did_not_start(
    outcome: Outcome | None, reason: str, said: str
) -> None:
    failed = failed_start(outcome, "fell over")
    assert (failed.reason, failed.message) == (reason, said)
