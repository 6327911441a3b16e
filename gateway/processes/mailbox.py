"""Boxes through which the processes of a node hand each other sockets: one for each, all have all.

What is posted is with the kernel until it is read, whoever dies meanwhile. The leader keeps every
box, so that what a dead process has not read goes to another.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

import msgspec

logger = logging.getLogger(__name__)

MAX_INLINE: Final = 8 * 1024
"""Bytes that go in a message; more of them go in memory of their own."""
MAX_MESSAGE: Final = 64 * 1024
MAX_BYTES: Final = 4 << 20
"""Bytes that may come with a connection; what is read ahead of one is less."""
BATCH: Final = 16
"""Messages that are read in one go."""
ROOM_BYTES: Final = 1 << 20
"""What a box may hold, as the kernel counts; whoever has more to post waits."""
PAUSE_SECONDS: Final = 0.002
"""The least that is waited for room."""
SILENT_SECONDS: Final = 5.0
"""How often trouble is told."""
_DESCRIPTORS: Final = 2


class Moved(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A connection, with a request on it that is not answered."""

    client: tuple[str, int] | None
    itself: bool
    """The client is a trusted proxy that speaks for itself, or for somebody it cannot name."""
    secure: bool
    moves: int
    """How often it was handed on since it was last answered."""
    size: int
    """Bytes that were read from it: with the message, or in memory of their own."""
    data: bytes | None


class Errand(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A socket of our own, over which something is asked (gateway.processes.errands)."""


Mail = Moved | Errand
Take = Callable[[Mail, socket.socket, bytes], None]
"""Takes what came: the message, its socket, and the bytes that belong to it."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Mail).decode


class Mailboxes:
    """The boxes, as one process has them."""

    def __init__(self, index: int, read: Sequence[socket.socket], write: Sequence[socket.socket]):
        """``read``: the end of this process's own box, or in the leader those of all."""
        self._index = index
        self._read = list(read)
        self._write = list(write)
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._take: Take | None = None
        self._silent_until = 0.0

    @classmethod
    def create(cls, processes: int) -> Self:
        """New ones, for the leader."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(processes)]
        for pair in pairs:
            for end in pair:
                end.setblocking(False)
            pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)
        return cls(0, [pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def descriptors(self, index: int) -> list[int]:
        """What another process is to be given: its own box, and the way into each."""
        return [self._read[index].fileno(), *(end.fileno() for end in self._write)]

    def close(self) -> None:
        """Let go of them."""
        self.stop()
        for end in (*self._read, *self._write):
            end.close()

    # Posting

    def post(self, place: int, mail: Mail, descriptors: Sequence[int]) -> bool:
        """Post something with sockets; False when the box is full."""
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        try:
            self._write[place].sendmsg([_encode(mail)], ancillary)
        except BlockingIOError:
            return False
        except OSError as error:
            # So many descriptors are under way already, the kernel has no memory for it, or the
            # leader is gone and its box with it.
            self._complain(error)
            return False
        return True

    def _complain(self, error: OSError) -> None:
        now = time.monotonic()
        if now > self._silent_until:
            self._silent_until = now + SILENT_SECONDS
            logger.warning("nothing can be handed on", extra={"error": str(error)})

    def post_connection(self, place: int, moved: Moved, descriptor: int, data: bytes) -> bool:
        """Post a client's connection with what was read from it; False when the box is full."""
        if len(data) <= MAX_INLINE:
            return self.post(place, msgspec.structs.replace(moved, data=data), [descriptor])
        if len(data) > MAX_BYTES:
            return False
        memory = os.memfd_create("waypost-parcel", os.MFD_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(memory, view) :]
            return self.post(place, moved, [descriptor, memory])
        finally:
            os.close(memory)

    async def room(self, place: int) -> None:
        """Return when there may be room in a box."""
        # What is in the way may be something else, which nobody tells of.
        await asyncio.sleep(PAUSE_SECONDS)
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(place, [])
        future: asyncio.Future[None] = loop.create_future()
        waiting.append(future)
        if len(waiting) == 1:
            loop.add_writer(self._write[place], self._tell, place)
        try:
            await future
        finally:
            if future in waiting:
                waiting.remove(future)
                if not waiting:
                    loop.remove_writer(self._write[place])

    def _tell(self, place: int) -> None:
        asyncio.get_running_loop().remove_writer(self._write[place])
        waiting = self._waiting.pop(place, [])
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # Reading

    def listen(self, take: Take) -> None:
        """Have ``take`` called with all that comes for this process; what it takes is its own."""
        self._take = take
        asyncio.get_running_loop().add_reader(self._own, self._ready)

    def stop(self) -> None:
        """Read nothing more."""
        if self._take is not None:
            self._take = None
            asyncio.get_running_loop().remove_reader(self._own)

    def reclaim(self, index: int) -> None:
        """Take what a process did not read that is gone."""
        take = self._take
        if take is not None:
            while self._read_one(self._read[index], take):
                pass

    @property
    def _own(self) -> socket.socket:
        return self._read[self._index if len(self._read) > 1 else 0]

    def _ready(self) -> None:
        for _ in range(BATCH):
            if self._take is None or not self._read_one(self._own, self._take):
                return

    def _read_one(self, end: socket.socket, take: Take) -> bool:
        try:
            message, descriptors, *_ = socket.recv_fds(
                end, MAX_MESSAGE, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError as error:
            logger.error("what was handed on cannot be taken", extra={"error": str(error)})
            return False
        try:
            sock, mail, data = _opened(message, descriptors)
        except (msgspec.MsgspecError, OSError, ValueError) as error:
            logger.error("what was handed on is not understood", extra={"error": str(error)})
            return True
        sock.setblocking(False)
        take(mail, sock, data)
        return True


def _opened(message: bytes, descriptors: list[int]) -> tuple[socket.socket, Mail, bytes]:
    """What a message holds; its descriptors are closed, but the socket."""
    try:
        mail = _decode(message)
        sock, *memory = descriptors
        data = b""
        if isinstance(mail, Moved):
            data = mail.data if mail.data is not None else _all_of(memory[0], mail.size)
    except IndexError:
        _close(descriptors)
        raise ValueError("its memory is missing") from None
    except (msgspec.MsgspecError, OSError, ValueError):
        _close(descriptors)
        raise
    _close(memory)
    return socket.socket(fileno=sock), mail, data


def _all_of(memory: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.pread(memory, size - len(data), len(data))
        if not piece:
            raise ValueError("its memory is cut short")
        data += piece
    return data


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
