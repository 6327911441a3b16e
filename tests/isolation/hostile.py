"""Puts hostile code in a real jail and hears what came of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from sandbox import ExitStatus, Sandbox, SandboxSpec, Supervisor
from sandbox.payloads import (
    ExceptionRecord,
    Failed,
    Init,
    RequestHead,
    decode_struct,
    encode_struct,
)
from sandbox.protocol import END, FROM_INSTANCE, Decoder, Frame, FrameType, encode, split_answer

STREAM: Final = 2
SERVE: Final = """
import inspect as _inspect, json as _json
from workers import Response as _Response
async def on_fetch(request, env, ctx):
    result = attempt(env) if _inspect.signature(attempt).parameters else attempt()
    if _inspect.isawaitable(result):
        result = await result
    return _Response(_json.dumps(result, default=repr))
"""
"""Follows a module that defines ``attempt()``."""


class Died(Exception):
    """The instance ended instead of answering."""

    def __init__(self, status: ExitStatus, log: str) -> None:
        super().__init__(f"{status.describe()}; {log}")
        self.status = status


class Inmate:
    """Code in a jail; talks the wire as a gateway does, without any of its limits."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._decoder = Decoder(FROM_INSTANCE)
        self._frames: list[Frame] = []

    @classmethod
    async def start(
        cls,
        supervisor: Supervisor,
        source: str,
        env: dict[str, Any] | None = None,
        beside: dict[str, bytes] | None = None,
    ) -> Inmate:
        """Spawn an instance and load a module that defines ``attempt()``."""
        inmate = cls(await supervisor.spawn(SandboxSpec()))
        files = {"main.py": (source + SERVE).encode(), **(beside or {})}
        sizes = [(name, len(content)) for name, content in files.items()]
        init = Init(sizes, "main.py", None, env or {}, "hostile", "v1")
        content = encode(FrameType.BODY, 0, b"".join(files.values()), END)
        await inmate._send(encode_struct(FrameType.INIT, 0, init) + content)
        frame = await inmate._next(FrameType.READY, FrameType.FAILED)
        if frame.type == FrameType.FAILED:
            failed = decode_struct(Failed, frame.payload)
            inmate.sandbox.close()
            raise AssertionError(f"{failed.name}: {failed.message}\n{failed.stack}")
        return inmate

    async def attempt(self) -> Any:
        """Let it try; return what ``attempt()`` returned. Raises Died when the process ended."""
        head = RequestHead("GET", "http", "h", b"/", b"", [(b"host", b"h")], None, "", "ray")
        await self._send(encode_struct(FrameType.REQUEST, STREAM, head, END))
        frame = await self._next(FrameType.RESPONSE, FrameType.EXCEPTION, FrameType.ANSWER)
        if frame.type == FrameType.EXCEPTION:
            record = decode_struct(ExceptionRecord, frame.payload)
            raise AssertionError(f"{record.name}: {record.message}\n{record.stack}")
        if frame.type == FrameType.ANSWER:
            return json.loads(split_answer(frame.payload)[1])
        body = b""
        while not frame.flags & END:
            frame = await self._next(FrameType.BODY)
            body += frame.payload
        return json.loads(body)

    async def _send(self, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self.sandbox.wire, data)
        except ConnectionError:
            raise await self._death() from None

    async def _next(self, *wanted: int) -> Frame:
        loop = asyncio.get_running_loop()
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.type in wanted:
                    return frame
            try:
                data = await loop.sock_recv(self.sandbox.wire, 65536)
            except ConnectionError:
                data = b""
            if not data:
                raise await self._death()
            self._frames += self._decoder.feed(data)

    async def _death(self) -> Died:
        status = await asyncio.shield(self.sandbox.exited)
        return Died(status, read_log(self.sandbox))


def read_log(sandbox: Sandbox) -> str:
    """Return what the instance wrote to its standard output and error so far."""
    with open(sandbox.log_fd, "rb", buffering=0, closefd=False) as pipe:
        return (pipe.read(65536) or b"").decode(errors="replace")


async def run(
    supervisor: Supervisor,
    source: str,
    env: dict[str, Any] | None = None,
    beside: dict[str, bytes] | None = None,
) -> Any:
    """Put code in a fresh jail, let it try once, return its result, and end it."""
    inmate = await Inmate.start(supervisor, source, env, beside)
    try:
        return await inmate.attempt()
    finally:
        inmate.sandbox.close()
