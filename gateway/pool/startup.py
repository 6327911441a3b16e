"""The start of an instance: its code is sent, and it says within its limits that it is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec

from gateway.errors import StartFailed, StartLost, WaypostError
from gateway.model.script import Bytecode, Module
from gateway.pool.channel import Channel
from gateway.pool.verdict import failed_start, instance_lost
from sandbox import Meter, Outcome, ProtocolError, protocol
from sandbox.payloads import Failed, Init, Ready, encode_struct
from sandbox.protocol import FrameType


class Code(msgspec.Struct, frozen=True):
    """What a process is to run."""

    init: Init
    modules: tuple[Module, ...]
    bytecode: Bytecode | None
    """What they were compiled to, where that is known."""

    def send(self, channel: Channel) -> None:
        """Put it on the wire."""
        files = [module.content for module in self.modules]
        first = None
        if self.bytecode is not None:
            # Of thousands of modules with long names, the sizes may be what is too much.
            with contextlib.suppress(ProtocolError):
                sized = msgspec.structs.replace(self.init, bytecode=list(self.bytecode.sizes))
                first = encode_struct(FrameType.INIT, 0, sized)
                files.insert(0, self.bytecode.content)
        channel.send(first or encode_struct(FrameType.INIT, 0, self.init))
        for content in files:
            for start in range(0, len(content), protocol.CHUNK):
                chunk = content[start : start + protocol.CHUNK]
                channel.send(protocol.encode(FrameType.BODY, 0, chunk))
        channel.send(protocol.encode(FrameType.BODY, 0, b"", protocol.END))


class Startup:
    """One process's, from the first frame until it is ready or gone."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[Ready | WaypostError] = loop.create_future()
        """What it is, or why it will not be."""

    @property
    def over(self) -> bool:
        """The process is ready, or never will be."""
        return self._loaded.done()

    async def load(
        self, channel: Channel, meter: Meter, code: Code, *, cpu_ms: int, wall_ms: int
    ) -> tuple[Ready, int]:
        """Send the code and wait until it is loaded: what it is, and the CPU time left over, ns.

        Raises StartFailed when it cannot be loaded, or not within so much CPU and wall time;
        InstanceLost or StartLost when its process ended for no reason of its own.
        """
        charge = meter.begin(
            cpu_ms * 1_000_000,
            wall_ms * 1_000_000,
            lambda: meter.kill(Outcome.EXCEEDED_WALL_TIME),
            now_ns=time.monotonic_ns(),
        )
        code.send(channel)
        loaded = await self._loaded
        left_ns = max(0, charge.budget_ns - meter.end(charge))
        if isinstance(loaded, WaypostError):
            raise loaded
        if meter.tripped is not None:
            raise StartFailed(failed_start(meter.tripped, None))
        return loaded, left_ns

    def on_loaded(self, loaded: Ready | Failed) -> None:
        """It says so. Raises ProtocolError when it has said so before."""
        if self._loaded.done():
            raise ProtocolError("the script was reported loaded twice")
        self._loaded.set_result(StartFailed(loaded) if isinstance(loaded, Failed) else loaded)

    def on_end(
        self, outcome: Outcome | None = None, words: str | None = None, *, killed: bool = False
    ) -> None:
        """The process is gone, for this reason; ``words``: how it ended.

        ``killed``: by someone else than the gateway, or the kernel for what it did.
        """
        if self._loaded.done():
            return
        if outcome is Outcome.INTERNAL_ERROR:
            self._loaded.set_result(instance_lost())
        else:
            kind = StartLost if killed else StartFailed
            self._loaded.set_result(kind(failed_start(outcome, words)))
