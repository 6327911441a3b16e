"""What the leader holds of a follower: its process, the bus to it, and what it has yet to say."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess

from gateway.processes import frames


class Follower:
    """One of the other processes, from its start to its end."""

    def __init__(self, process: subprocess.Popen[bytes], bus: socket.socket) -> None:
        self._process = process
        self._bus = bus
        self._writer: asyncio.StreamWriter | None = None
        self.attached = False
        """It is told of changes."""
        loop = asyncio.get_running_loop()
        self.serving: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[int] = loop.create_future()
        self.due: dict[int, asyncio.Future[None]] = {}
        """Changes that it has not said to be in force."""
        self.text: asyncio.Future[bytes] | None = None
        self._pieces: list[bytes] = []
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._ended)

    async def connect(self) -> asyncio.StreamReader:
        """Where its frames are read."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._bus)
        return reader

    def send(self, frame: frames.FromLeader) -> None:
        """Say something to it."""
        if self._writer is not None and not self.gone.done():
            self._writer.write(frames.written(frame))

    def tell(self, frame: frames.Changed | frames.Listened) -> None:
        """Say something to it that it has to say to be in force."""
        if self.attached and not self.gone.done():
            self.due[frame.number] = asyncio.get_running_loop().create_future()
            self.send(frame)

    def done(self, number: int) -> None:
        """It said so."""
        future = self.due.pop(number, None)
        if future is not None:
            future.set_result(None)

    def counted(self, text: bytes, *, last: bool) -> None:
        """A piece of what it has counted."""
        self._pieces.append(text)
        if last:
            whole, self._pieces = b"".join(self._pieces), []
            if self.text is not None and not self.text.done():
                self.text.set_result(whole)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if not self.gone.done():
            self._process.send_signal(number)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._process.wait()
        self.attached = False
        self.gone.set_result(status)
        if not self.serving.done():
            self.serving.set_result(None)
        if self.text is not None and not self.text.done():
            self.text.cancel()
        for number in list(self.due):
            self.done(number)
        if self._writer is not None:
            self._writer.close()
        else:
            self._bus.close()
