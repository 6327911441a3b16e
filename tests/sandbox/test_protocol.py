"""The wire: what goes in comes out; what a peer makes up can only raise ProtocolError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import protocol
from sandbox.errors import ProtocolError
from sandbox.protocol import FrameType

frames = st.tuples(
    st.sampled_from(sorted(protocol.FROM_INSTANCE)),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=300),
    st.sampled_from([0, protocol.END]),
)


@given(st.lists(frames, max_size=8), st.integers(1, 64))
def test_frames_survive_any_cut_of_the_stream(
    sent: list[tuple[int, int, bytes, int]], step: int
) -> None:
    data = b"".join(
        protocol.encode(kind, stream, body, flags) for kind, stream, body, flags in sent
    )
    decoder = protocol.Decoder(protocol.FROM_INSTANCE)
    received = []
    for start in range(0, len(data), step):
        received += decoder.feed(data[start : start + step])
    assert [(f.type, f.stream, f.payload, f.flags) for f in received] == sent
    assert decoder.buffered == 0


@given(st.lists(frames, max_size=8), st.integers(100, 5000), st.integers(1, 300))
def test_frames_survive_being_taken_a_few_at_once(
    sent: list[tuple[int, int, bytes, int]], step: int, times: int
) -> None:
    data = times * b"".join(
        protocol.encode(kind, stream, body, flags) for kind, stream, body, flags in sent
    )
    data = data[:20_000]
    decoder = protocol.Decoder(protocol.FROM_INSTANCE, at_once=7)
    once, expected = [], protocol.Decoder(protocol.FROM_INSTANCE).feed(data)
    for start in range(0, len(data), step):
        fed = data[start : start + step]
        while fed:
            taken = decoder.feed(fed)
            assert len(taken) < 7 + 2048 / protocol.HEADER_SIZE + 1
            once += taken
            fed, decoder.left = decoder.left, b""
    assert once == expected


@given(st.binary(max_size=4096))
def test_garbage_raises_protocol_error_or_waits_for_more(data: bytes) -> None:
    decoder = protocol.Decoder(protocol.FROM_INSTANCE)
    try:
        decoder.feed(data)
    except ProtocolError:
        return
    assert decoder.buffered <= protocol.HEADER_SIZE + protocol.MAX_METADATA


@pytest.mark.parametrize(
    "header",
    [
        protocol.HEADER.pack(0xFFFFFFFF, FrameType.BODY, 0, 0, 2),
        protocol.HEADER.pack(protocol.MAX_METADATA + 1, FrameType.LOG, 0, 0, 2),
        protocol.HEADER.pack(0, FrameType.INIT, 0, 0, 0),
        protocol.HEADER.pack(0, 99, 0, 0, 0),
        protocol.HEADER.pack(0, FrameType.BODY, 2, 0, 2),
        protocol.HEADER.pack(0, FrameType.BODY, 0, 1, 2),
    ],
    ids=["4 GiB", "long metadata", "gateway's own type", "unknown type", "flags", "reserved"],
)
def test_a_bad_header_is_refused_before_its_payload_arrives(header: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.Decoder(protocol.FROM_INSTANCE).feed(header)


def test_credit_comes_back_as_it_was() -> None:
    frame = protocol.Decoder(protocol.FROM_INSTANCE).feed(protocol.encode_credit(7, 12345))[0]
    assert (frame.stream, protocol.decode_credit(frame.payload)) == (7, 12345)
    with pytest.raises(ProtocolError):
        protocol.decode_credit(b"123")


def test_a_payload_over_the_frame_limit_is_not_sent() -> None:
    with pytest.raises(ProtocolError):
        protocol.encode(FrameType.BODY, 2, b"x" * (protocol.MAX_FRAME + 1))
