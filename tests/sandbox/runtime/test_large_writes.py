"""Large pieces that leave together: in order with all else, and none later than the loop's turn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from sandbox import protocol
from sandbox.protocol import CHUNK, END, WINDOW, Frame, FrameType
from sandbox.runtime.channel import Channel, OutgoingBody

pytestmark = pytest.mark.anyio
STREAM = 2


class Pair:
    """The instance's end of a wire, and a gateway that reads what has come by now."""

    def __init__(self) -> None:
        inside, self.gateway = socket.socketpair()
        for sock in (inside, self.gateway):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        late = struct.pack("ll", 10, 0)
        self.gateway.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, late)
        self.lost = threading.Event()
        self.channel = Channel(inside, on_lost=self.lost.set)
        self.body = OutgoingBody(self.channel, STREAM)
        self._decoder = protocol.Decoder(protocol.FROM_INSTANCE)

    def come(self) -> list[Frame]:
        """The frames that have come, without waiting."""
        frames: list[Frame] = []
        while True:
            try:
                data = self.gateway.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return frames
            frames += self._decoder.feed(data)

    def close(self) -> None:
        self.channel.wire.close()
        self.gateway.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def piece(number: int) -> bytes:
    return bytes([number]) * CHUNK


def bodies(frames: list[Frame]) -> bytes:
    assert {frame.type for frame in frames} <= {FrameType.BODY}
    return b"".join(frame.payload for frame in frames)


async def test_a_piece_is_out_once_its_writer_lets_the_loop_run(pair: Pair) -> None:
    await pair.body.write(piece(1))
    await asyncio.sleep(0)
    assert bodies(pair.come()) == piece(1)


async def test_pieces_do_not_wait_for_more_than_a_few(pair: Pair) -> None:
    pair.body.grant(WINDOW)
    for number in range(5):
        await pair.body.write(piece(number))
    assert pair.come() == []
    await pair.body.write(piece(5))
    assert bodies(pair.come()) == b"".join(map(piece, range(6)))


@pytest.mark.parametrize("more", [b"", b"small", bytes(CHUNK)], ids=["nothing", "little", "much"])
async def test_the_end_leaves_at_once_with_what_is_before_it(pair: Pair, more: bytes) -> None:
    await pair.body.write(piece(1))
    await pair.body.write(more, end=True)
    frames = pair.come()
    assert bodies(frames) == piece(1) + more
    assert [frame.flags for frame in frames][-1] == END


async def test_small_pieces_and_other_frames_take_what_waits_along(pair: Pair) -> None:
    await pair.body.write(piece(1))
    await pair.body.write(b"event")
    assert bodies(pair.come()) == piece(1) + b"event"
    await pair.body.write(piece(2))
    pair.channel.send(protocol.encode(FrameType.LOG, STREAM, b"log"))
    assert [frame.type for frame in pair.come()] == [FrameType.BODY, FrameType.LOG]
    await asyncio.sleep(0)
    assert pair.come() == []


async def test_nothing_waits_when_the_credit_is_used_up(pair: Pair) -> None:
    writing = asyncio.create_task(pair.body.write(bytes(WINDOW + 1)))
    await asyncio.sleep(0)
    assert len(bodies(pair.come())) == WINDOW
    pair.body.grant(CHUNK)
    await writing
    await asyncio.sleep(0)
    assert len(bodies(pair.come())) == 1


async def test_the_end_of_an_invocation_stays_behind_its_pieces(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.runtime.channel._HOLD_SECONDS", 60)
    channel = pair.channel
    ending = protocol.encode(FrameType.DONE, STREAM)

    def on_frame(frame: Frame) -> None:
        # The first answer is held for the second, which comes after large pieces.
        if frame.flags == END:
            with pytest.raises(StopIteration):
                pair.body.write(piece(1)).send(None)
        channel.send_last(ending)

    channel.on_frame = on_frame
    credit = protocol.encode_credit(STREAM, 1)
    pair.gateway.sendall(credit + protocol.encode(FrameType.CANCEL, STREAM, flags=END))
    channel.poll()
    kinds = [frame.type for frame in pair.come()]
    assert kinds == [FrameType.DONE, FrameType.BODY, FrameType.DONE]


async def test_nothing_waits_while_the_thread_does(pair: Pair) -> None:
    await pair.body.write(piece(1))
    seen: list[bytes] = []

    def gateway() -> None:
        with contextlib.suppress(BlockingIOError):
            seen.append(pair.gateway.recv(protocol.HEADER_SIZE + CHUNK, socket.MSG_WAITALL))
        pair.gateway.sendall(protocol.encode_credit(STREAM, 1))

    thread = threading.Thread(target=gateway)
    thread.start()
    frame = pair.channel.next_frame()
    thread.join()
    assert frame.type == FrameType.CREDIT
    assert seen == [protocol.encode(FrameType.BODY, STREAM, piece(1))]


async def test_a_gateway_that_is_gone_is_noticed_when_the_pieces_leave(pair: Pair) -> None:
    await pair.body.write(piece(1))
    pair.gateway.close()
    await asyncio.sleep(0)
    assert pair.lost.is_set()
