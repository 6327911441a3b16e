"""Metadata: what goes in comes out; what a peer makes up can only raise ProtocolError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import payloads
from sandbox.errors import ProtocolError
from sandbox.protocol import FROM_INSTANCE, MAX_METADATA, Decoder, FrameType


@given(st.binary(max_size=200))
def test_metadata_that_does_not_fit_is_a_protocol_error(payload: bytes) -> None:
    for kind in (payloads.ResponseHead, payloads.LogRecord, payloads.FetchHead, payloads.Ready):
        try:
            value = payloads.decode_struct(kind, payload)
        except ProtocolError:
            continue
        assert isinstance(value, kind)


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    deep = b"\x93\xa3log\x00" + b"\x91" * 200_000 + b"\xc0"
    with pytest.raises(ProtocolError):
        payloads.decode_struct(payloads.LogRecord, deep)


def test_structs_come_back_as_they_were() -> None:
    head = payloads.ResponseHead(200, [(b"a", b"\xff")])
    assert payloads.decode_struct(payloads.ResponseHead, payloads.encode_metadata(head)) == head
    sent = payloads.encode_struct(FrameType.RESPONSE, 2, head)
    (frame,) = Decoder(FROM_INSTANCE).feed(sent)
    assert payloads.decode_struct(payloads.ResponseHead, frame.payload) == head


def test_metadata_that_is_too_long_is_not_sent() -> None:
    head = payloads.ResponseHead(200, [(b"a", b"x" * MAX_METADATA)])
    with pytest.raises(ProtocolError):
        payloads.encode_struct(FrameType.RESPONSE, 2, head)
