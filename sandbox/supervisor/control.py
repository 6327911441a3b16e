"""The gateway's end of a zygote: its process, its control socket, and the instances it forked."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sandbox.errors import JailError, SpawnError, SpawnLost, SupervisorDown
from sandbox.outcome import ExitStatus
from sandbox.spec import SandboxSpec
from sandbox.supervisor import messages
from sandbox.supervisor.instance import Sandbox

logger = logging.getLogger(__name__)

_PROGRAM: Final = Path(__file__).with_name("zygote.py")
_START_TIMEOUT_SECONDS: Final = 60.0
_END_TIMEOUT_SECONDS: Final = 5.0
_WRITTEN_BYTES: Final = 400_000
"""What an instance may have written that is not read yet, as the kernel counts: twice that. Who
streams then writes on while the gateway sends, and neither sleeps after every few pieces."""
_BATCH: Final = 64
"""Packets read before other callbacks of the loop get their turn."""


def make_wire() -> tuple[socket.socket, socket.socket]:
    """Both ends of a wire: the gateway's and the instance's."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WRITTEN_BYTES)
    return ours, theirs


class _Pending:
    """An order that is under way, with the gateway's ends of its descriptors."""

    def __init__(self, spec: SandboxSpec, wire: socket.socket, log_fd: int) -> None:
        self.spec = spec
        self.wire = wire
        self.log_fd = log_fd
        self.sandbox: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Give the order up."""
        self.wire.close()
        os.close(self.log_fd)
        if not self.sandbox.done():
            self.sandbox.set_exception(error)


class ZygoteProcess:
    """One zygote. Use :meth:`launch`; every method runs on the event loop and none blocks it."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._control = control
        self._pidfd = os.pidfd_open(process.pid)
        self._pending: dict[int, _Pending] = {}
        self._living: dict[int, Sandbox] = {}
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._connected = True
        self._retired = False
        self._ready: asyncio.Future[messages.Ready] = self._loop.create_future()
        self._ended = asyncio.Event()
        self.on_end: Callable[[], None] = lambda: None
        """Called when the process is gone, and every instance with it."""
        self._loop.add_reader(control.fileno(), self._on_readable)
        self._loop.add_reader(self._pidfd, self._on_end)

    @classmethod
    async def launch(cls, config: messages.ZygoteConfig) -> tuple[ZygoteProcess, messages.Ready]:
        """Start a zygote and wait until it takes orders.

        Raises JailError when a step of its set-up failed, SupervisorDown when it died or hung. The
        calling thread must outlive the zygote: the kernel ties it to the thread that started it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns once the exec is done
                [sys.executable, "-I", "-S", "-X", "utf8", str(_PROGRAM), str(theirs.fileno())],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C on the terminal is for the gateway, which then drains.
                process_group=0,
            )
        ours.setblocking(False)
        zygote = cls(process, ours)
        try:
            zygote._post(messages.encode(config), ())
            async with asyncio.timeout(_START_TIMEOUT_SECONDS):
                ready = await zygote._ready
        except TimeoutError:
            await zygote.close()
            raise SupervisorDown(
                f"the zygote did not start within {_START_TIMEOUT_SECONDS:.0f} s"
            ) from None
        except BaseException:
            await zygote.close()
            raise
        return zygote, ready

    @property
    def alive(self) -> bool:
        """True while it takes orders."""
        return self._connected and not self._retired

    def _unused_number(self) -> int:
        """Random: an instance may find its own, and it is not to count how many there were."""
        number = secrets.randbits(48)
        return self._unused_number() if number in self._pending else number

    def order(self, spec: SandboxSpec, *, probe: bool = False) -> asyncio.Future[Sandbox]:
        """Order an instance; the future is done when it was forked, not yet jailed.

        Cancelling the future kills the instance as soon as it appears.
        """
        if not self.alive:
            raise SupervisorDown("the zygote is gone")
        wire, wire_inside = make_wire()
        log_fd, log_inside = os.pipe2(os.O_CLOEXEC)
        wire.setblocking(False)
        os.set_blocking(log_fd, False)
        pending = _Pending(spec, wire, log_fd)
        number = self._unused_number()
        self._pending[number] = pending
        order = messages.SpawnOrder(
            order=number,
            memory_bytes=spec.memory_bytes,
            scratch_bytes=spec.scratch_bytes,
            bundle_bytes=spec.bundle_bytes,
            bundle_files=spec.bundle_files,
            probe=probe,
        )
        self._post(messages.encode(order), (wire_inside.detach(), log_inside))
        return pending.sandbox

    @property
    def ended(self) -> bool:
        """True when the process is gone, and every instance with it."""
        return self._ended.is_set()

    def retire(self) -> None:
        """Take no more orders; end when the last instance has."""
        self._retired = True
        for sandbox in self._living.values():
            sandbox.outdated = True
        self._end_if_spent()

    def _end_if_spent(self) -> None:
        if self._retired and not self._living and not self._pending:
            self._disconnect()

    async def close(self) -> None:
        """End the zygote and every instance; return when all are dead."""
        self._disconnect()
        try:
            async with asyncio.timeout(_END_TIMEOUT_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            logger.warning("zygote did not end by itself", extra={"pid": self._process.pid})
            self._process.kill()
            await self._ended.wait()

    def _post(self, packet: bytes, descriptors: tuple[int, ...]) -> None:
        self._outbox.append((packet, descriptors))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._outbox and self._connected:
            packet, descriptors = self._outbox[0]
            try:
                socket.send_fds(self._control, [packet], descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._control.fileno(), self._flush)
                return
            except OSError:
                self._disconnect()
                return
            self._outbox.popleft()
            _close_all(descriptors)
        if self._connected:
            self._loop.remove_writer(self._control.fileno())
        else:
            self._drop_outbox()

    def _drop_outbox(self) -> None:
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _on_readable(self) -> None:
        for _ in range(_BATCH):
            if not self._connected:
                return
            try:
                packet, descriptors, _flags, _address = socket.recv_fds(
                    self._control,
                    messages.MAX_PACKET,
                    messages.MAX_DESCRIPTORS,
                    socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                self._disconnect()
                return
            self._take(packet, descriptors)

    def _take(self, packet: bytes, descriptors: list[int]) -> None:
        try:
            report = messages.decode_report(packet)
        except msgspec.MsgspecError:
            logger.exception("zygote sent what cannot be read; ending it")
            _close_all(descriptors)
            self._disconnect()
            return
        match report:
            case messages.Exited():
                self._on_exited(report)
            case messages.Forked() if len(descriptors) == 1:
                self._on_forked(report, descriptors.pop())
            case messages.Refused():
                if pending := self._pending.pop(report.order, None):
                    pending.fail(SpawnError(report.why))
                    self._end_if_spent()
            case messages.Ready():
                if not self._ready.done():
                    self._ready.set_result(report)
            case messages.Fatal():
                if not self._ready.done():
                    self._ready.set_exception(JailError(report.step, report.why))
        _close_all(descriptors)

    def _on_forked(self, report: messages.Forked, pidfd: int) -> None:
        pending = self._pending.pop(report.order, None)
        if pending is None:
            os.close(pidfd)
            return
        try:
            sandbox = Sandbox(pidfd, pending.spec, pending.wire, pending.log_fd)
        except (OSError, SpawnError) as error:
            os.close(pidfd)
            pending.fail(SpawnError(f"the new instance cannot be identified: {error}"))
            return
        sandbox.outdated = self._retired
        self._living[report.pid] = sandbox
        if pending.sandbox.done():
            sandbox.close()
        else:
            pending.sandbox.set_result(sandbox)

    def _on_exited(self, report: messages.Exited) -> None:
        sandbox = self._living.pop(report.pid, None)
        if sandbox is None:
            return
        code = os.waitstatus_to_exitcode(report.status)
        sandbox.reaped(
            ExitStatus(
                code=code if code >= 0 else None,
                signal=-code if code < 0 else None,
                cpu_ns=report.cpu_ns,
                peak_rss_bytes=report.peak_rss_bytes,
            )
        )
        self._end_if_spent()

    def _disconnect(self) -> None:
        """Close the control socket, which ends the zygote, and give up what was ordered."""
        if not self._connected:
            return
        self._connected = False
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        self._drop_outbox()
        for sandbox in self._living.values():
            sandbox.orphaned = True
        gone = SpawnLost("the zygote ended while it started the instance")
        for pending in self._pending.values():
            pending.fail(gone)
        self._pending.clear()
        if not self._ready.done():
            self._ready.set_exception(SupervisorDown("the zygote died while starting"))
            self._ready.exception()  # Nobody may be waiting any more.

    def _on_end(self) -> None:
        """Everything below the process is dead: the kernel ends a pid namespace with its pid 1."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        if self._connected:
            self._on_readable()
        self._disconnect()
        for sandbox in self._living.values():
            sandbox.reaped(ExitStatus(signal=signal.SIGKILL, with_zygote=True))
        self._living.clear()
        self._ended.set()
        self.on_end()


def _close_all(descriptors: list[int] | tuple[int, ...]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
