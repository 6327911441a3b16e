"""Compiling a version's modules once, so that its later instances need not.

The compiler is given hostile source, so it runs in a jailed process of its own, with limits, in
which nothing of the tenant's is run. What it sends back is hostile too: here it is counted and
kept, and nobody looks into it but the import system of that very version's instances.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from importlib.util import MAGIC_NUMBER
from typing import Final, Protocol, cast

from gateway.errors import StoreTrouble
from gateway.model.script import Bytecode, Module, ScriptKey, Version
from gateway.store.base import BytecodeStore
from sandbox import (
    MIB,
    Meter,
    Outcome,
    ProtocolError,
    Sandbox,
    SandboxError,
    SandboxSpec,
    SpawnLost,
    Supervisor,
    Watchdog,
    payloads,
    protocol,
)
from sandbox.protocol import FrameType

logger = logging.getLogger(__name__)

INTERPRETER: Final = (
    f"{sys.implementation.cache_tag}-{MAGIC_NUMBER.hex()}-{sys.hexversion:x}-{sys.platform}"
)
"""Whose bytecode can be used: that of exactly this Python."""
WORTH_BYTES: Final = 4096
"""Source below this is compiled faster than its bytecode is fetched."""
MAX_WAITING: Final = 1000
"""Versions that wait to be compiled; one that finds no place is offered again when it starts."""
DELAY_SECONDS: Final = 1.0
"""A version that has just started serves its first requests in peace."""
END_SECONDS: Final = 5.0
"""A process that has said its last is gone so soon."""
WALL_NS: Final = 120_000_000_000
"""The compiler gives way to all others, and may take long."""
_ROOM: Final = SandboxSpec(memory_bytes=256 * MIB, scratch_bytes=0, bundle_bytes=0, bundle_files=0)


class CompilerStore(BytecodeStore, Protocol):
    """What is needed of the store."""

    async def get_version(self, version_id: str) -> Version | None:
        """A version with its code."""


class Compiler:
    """Compiles versions in the background, one at a time, each once for an interpreter."""

    def __init__(
        self,
        supervisor: Supervisor,
        watchdog: Watchdog,
        store: CompilerStore,
        *,
        cpu_ms: int,
        max_bytes: int,
        delay_seconds: float = DELAY_SECONDS,
    ) -> None:
        """``cpu_ms``: what compiling one version may cost; 0: none is."""
        self._supervisor = supervisor
        self._watchdog = watchdog
        self._store = store
        self._cpu_ns = cpu_ms * 1_000_000
        self._most = max_bytes
        self._delay = delay_seconds
        self._waiting: dict[ScriptKey, tuple[str, float]] = {}
        """Version and the time from which on it may be compiled, by script: the newest counts."""
        self._offered = asyncio.Event()

    async def find(self, version: Version) -> Bytecode | None:
        """What a version was compiled to, if only in parts; None when it was not and could be."""
        if not self._cpu_ns or not _is_worth(version.modules):
            return Bytecode(INTERPRETER)
        found = await self._store.get_bytecode(version.id, INTERPRETER)
        if found is None or len(found.sizes) in (0, len(version.modules)):
            return found
        return None

    def offer(self, key: ScriptKey, version_id: str) -> None:
        """Have a version compiled that has started without bytecode."""
        if key in self._waiting and self._waiting[key][0] == version_id:
            return
        self._waiting.pop(key, None)
        if len(self._waiting) < MAX_WAITING:
            self._waiting[key] = version_id, time.monotonic() + self._delay
            self._offered.set()

    async def run(self) -> None:
        """Compile what is offered, for ever."""
        while True:
            await self._offered.wait()
            while self._waiting:
                key, (version_id, due) = next(iter(self._waiting.items()))
                await asyncio.sleep(due - time.monotonic())
                if self._waiting.get(key) == (version_id, due):
                    del self._waiting[key]
                    await self._try(version_id)
            self._offered.clear()

    async def _try(self, version_id: str) -> None:
        try:
            await self._compile(version_id)
        except (SandboxError, StoreTrouble) as error:
            logger.warning(
                "a version could not be compiled",
                extra={"version": version_id, "error": str(error)},
            )
        except Exception:
            logger.exception("a version could not be compiled", extra={"version": version_id})

    async def _compile(self, version_id: str) -> None:
        version = await self._store.get_version(version_id)
        if version is None or await self.find(version) is not None:
            return
        chosen = _choose(version.modules)
        begun_ns = time.monotonic_ns()
        answer = await self._in_jail([version.modules[position] for position in chosen])
        bytecode = _collect(len(version.modules), chosen, answer)
        await self._store.put_bytecode(version_id, bytecode)
        logger.info(
            "compiled",
            extra={
                "script": version.key.name,
                "namespace": version.key.namespace,
                "version": version_id,
                "modules": sum(size > 0 for size in bytecode.sizes),
                "bytes": len(bytecode.content),
                "ms": (time.monotonic_ns() - begun_ns) // 1_000_000,
            },
        )

    async def _in_jail(self, modules: Sequence[Module]) -> bytes:
        """What a process sends back that compiles the modules: all of it, or what came in time."""
        sandbox = await self._supervisor.spawn(_ROOM)
        try:
            sandbox.give_way(True)
            return await self._converse(sandbox, modules)
        finally:
            sandbox.close()

    async def _converse(self, sandbox: Sandbox, modules: Sequence[Module]) -> bytes:
        meter = Meter(
            sandbox, self._watchdog, memory_bytes=_ROOM.memory_bytes, on_kill=lambda: None
        )
        answer = _Answer(self._most)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: answer, sock=sandbox.detach_wire())
        charge = meter.begin(
            self._cpu_ns,
            WALL_NS,
            lambda: meter.kill(Outcome.EXCEEDED_WALL_TIME),
            now_ns=time.monotonic_ns(),
        )
        try:
            init = payloads.Init(
                [(module.name, len(module.content)) for module in modules],
                "",
                None,
                {},
                "",
                "",
                compiles=True,
            )
            transport.write(payloads.encode_struct(FrameType.INIT, 0, init))
            for module in modules:
                transport.writelines(frames_of(module.content))
            transport.write(protocol.encode(FrameType.BODY, 0, b"", protocol.END))
            whole = await answer.whole
            if answer.cut and meter.killed_for is None:
                await _insist_on_own_end(sandbox)
            return whole
        finally:
            meter.end(charge)
            transport.abort()


class _Answer(asyncio.Protocol):
    """What a process that compiles says, up to so many bytes."""

    def __init__(self, most: int) -> None:
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._decoder = protocol.Decoder({FrameType.BODY: protocol.CHUNK})
        self._received = bytearray()
        self._left = most
        self.cut = False
        """It ended before it had said all."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The wire is up."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the process: headers count, too, or there could be any number of them."""
        self._left -= len(data)
        try:
            frames = self._decoder.feed(data) if self._left >= 0 else []
        except ProtocolError:
            frames, self._left = [], -1
        for frame in frames:
            self._received += frame.payload
            if frame.flags & protocol.END:
                self._left = -1
                break
        if self._left < 0:
            self._end()

    def connection_lost(self, _error: Exception | None) -> None:
        """The process is gone, or what it said is enough."""
        self.cut = not self.whole.done()
        self._end()

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        if not self.whole.done():
            self.whole.set_result(bytes(self._received))


async def _insist_on_own_end(sandbox: Sandbox) -> None:
    """Raise SpawnLost when it was killed by somebody else: the next one may well come to an end."""
    try:
        status = await asyncio.wait_for(asyncio.shield(sandbox.exited), END_SECONDS)
    except TimeoutError:
        return
    if status.signal == signal.SIGKILL and not status.out_of_memory:
        raise SpawnLost(f"the compiling process {status.describe()}")


def frames_of(content: bytes) -> list[bytes]:
    """The BODY frames that bring a module to an instance."""
    return [
        protocol.encode(FrameType.BODY, 0, content[start : start + protocol.CHUNK])
        for start in range(0, len(content), protocol.CHUNK)
    ]


def _is_worth(modules: Sequence[Module]) -> bool:
    return sum(len(module.content) for module in modules if _is_python(module)) >= WORTH_BYTES


def _is_python(module: Module) -> bool:
    return module.name.endswith(".py")


def _choose(modules: Sequence[Module]) -> list[int]:
    """Positions of what is compiled: a script's own modules before its packages', in case the
    budget does not do for all; none for which the bundle itself brings bytecode."""
    names = {module.name for module in modules}
    tag = sys.implementation.cache_tag
    chosen = []
    for position, module in enumerate(modules):
        folder, _, file = module.name.rpartition("/")
        own = f"{folder}/" if folder else ""
        brought = f"{own}__pycache__/{file.removesuffix('.py')}.{tag}.pyc"
        if _is_python(module) and brought not in names:
            chosen.append(position)
    return sorted(chosen, key=lambda position: modules[position].name.startswith("python_modules/"))


def _collect(count: int, chosen: Sequence[int], answer: bytes) -> Bytecode:
    """Bytecode by module, of an answer that may have been cut off anywhere."""
    pieces = [b""] * count
    offset = 0
    for position in chosen:
        start = offset + protocol.LENGTH_SIZE
        offset = start + int.from_bytes(answer[offset:start], "little")
        if start > len(answer) or offset > len(answer):
            break
        pieces[position] = answer[start:offset]
    if not any(pieces):
        return Bytecode(INTERPRETER)
    return Bytecode(INTERPRETER, tuple(map(len, pieces)), b"".join(pieces))
