"""The life of an instance: HELLO, the script's code, READY or FAILED, then serving until DRAIN."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import asyncio
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from sandbox.errors import ProtocolError
from sandbox.payloads import Failed, Hello, Init, Ready, decode_struct, encode_struct
from sandbox.protocol import END, VERSION, FrameType
from sandbox.runtime import aliases, bytecode, console, loader, rehearsal
from sandbox.runtime.adapter import Adapter
from sandbox.runtime.channel import Channel
from sandbox.runtime.content import Content
from sandbox.runtime.env import env
from sandbox.runtime.limits import CpuLimit
from sandbox.runtime.loop import Server
from sandbox.runtime.trace import CpuLimitExceeded, Tracer, clean, is_out_of_memory
from sandbox.runtime.wireloop import WireLoop

EXIT_BROKEN = 70
"""Exit status when the runtime itself failed; sysexits.h calls it EX_SOFTWARE."""
_HOW_TO_BRING = (
    ". The bundle may bring it (pip install --target python_modules ...), "
    "or the operator list it in runtime.packages"
)


def main(
    wire_fd: int,
    app_dir: str = "/app",
    bundle_dir: str = "",
    seal: Callable[[], None] | None = None,
) -> NoReturn:
    """Run an instance on a connected socket; never returns.

    The bundle is written to ``bundle_dir`` (empty: ``app_dir``) and read from ``app_dir``: two
    views of one directory, of which only the first is writable. Where there is but one view,
    ``seal`` is called in between, and makes it read-only.
    """
    status = EXIT_BROKEN
    try:
        live(wire_fd, app_dir, bundle_dir or app_dir, seal)
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(status)


def live(
    wire_fd: int,
    app_dir: str,
    bundle_dir: str,
    seal: Callable[[], None] | None,
) -> bool:
    """Run an instance until it is told that nothing more comes; False when it serves nothing.

    Raises what the runtime raises.
    """
    # Until there is something to limit, the signal must not end the process.
    # Not of the module signal, whose enumerations would be memory of this process alone.
    _signal.signal(_signal.SIGXCPU, _signal.SIG_IGN)
    wire = socket.socket(fileno=wire_fd)
    wire.setblocking(True)
    channel = Channel(wire)
    channel.send(encode_struct(FrameType.HELLO, 0, Hello(VERSION)))
    aliases.register()
    rehearsal.while_waiting(wire_fd)
    loop = WireLoop()
    asyncio.set_event_loop(loop)
    tracer = Tracer(app_dir)
    limit = CpuLimit(tracer.app_prefix)
    received = _receive(channel)
    if received is None:
        return False
    init, content = received
    if init.compiles:
        bytecode.compile_all(channel, content, app_dir, init.modules)
        return False
    server = Server(channel, loop, tracer, init.log_bytes)
    limit.server = server
    limit.install()
    console.install(server.recorder)
    env.__dict__.update(init.env)
    failed = _write(init, content, bundle_dir, app_dir)
    del content, received
    # Leaves the writable view of the bundle, before any of the tenant's code runs. Programs name
    # their templates and data by paths relative to where they lie.
    os.chdir(app_dir)
    if seal is not None:
        seal()
    sys.argv = [init.main]
    loaded = failed or _load(server, limit, tracer, init, app_dir)
    if isinstance(loaded, Failed):
        channel.send(encode_struct(FrameType.FAILED, 0, loaded))
        return False
    ready = Ready(loaded.kind, loaded.concurrent, loaded.handlers)
    channel.send(encode_struct(FrameType.READY, 0, ready))
    server.serve(loaded)
    return True


def _receive(channel: Channel) -> tuple[Init, Content] | None:
    """Wait for the script; None when the gateway wants the instance to end instead."""
    frame = channel.next_frame()
    if frame.type == FrameType.DRAIN:
        return None
    if frame.type != FrameType.INIT:
        raise ProtocolError(f"frame type {frame.type} before INIT")
    return decode_struct(Init, frame.payload), Content(channel, ended=bool(frame.flags & END))


def _write(init: Init, content: Content, bundle_dir: str, app_dir: str) -> Failed | None:
    try:
        if init.bytecode:
            bytecode.receive(content, bundle_dir, app_dir, init.modules, init.bytecode)
        loader.write_modules(bundle_dir, init.modules, content, init.created_ms)
    except OSError as error:
        content.skip()
        message = f"the bundle does not fit into its directory: {error.strerror}"
        return Failed("code", "BundleNotWritten", clean(message, 1024), "", None, None)
    return None


def _load(
    server: Server, limit: CpuLimit, tracer: Tracer, init: Init, app_dir: str
) -> Adapter | Failed:
    limit.loading = True
    try:
        for note in loader.prepare_path(app_dir, init.main):
            server.recorder.record("warn", [note])
        module = loader.load_main(app_dir, init.main)
        adapter = loader.find_adapter(module, init.entrypoint)
        server.run_until(adapter.startup())
    except BaseException as error:
        limit.loading = False
        return _failed(error, limit, tracer)
    limit.loading = False
    if limit.tripped_while_loading:
        return _failed(CpuLimitExceeded(), limit, tracer)
    return adapter


def _failed(error: BaseException, limit: CpuLimit, tracer: Tracer) -> Failed:
    reason = "code"
    if limit.tripped_while_loading or isinstance(error, CpuLimitExceeded):
        reason = "cpu"
    elif is_out_of_memory(error):
        reason = "memory"
    elif isinstance(error, loader.EntrypointError):
        reason = "entrypoint"
    record = tracer.record(error)
    message = record.message
    if isinstance(error, ModuleNotFoundError):
        message += _HOW_TO_BRING
    file, line = tracer.location(error)
    file = None if file is None else clean(file, 1024)
    return Failed(reason, record.name, message, record.stack, file, line)
