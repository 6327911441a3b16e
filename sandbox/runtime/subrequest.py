"""Subrequests: what ``fetch`` puts on the wire and what comes back.

The gateway counts, refuses and performs them; here they are only carried.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING

from sandbox.payloads import (
    MAX_FIELDS,
    MAX_NAME,
    FetchedHead,
    FetchHead,
    HeaderList,
    decode_struct,
    encode_struct,
)
from sandbox.payloads import FetchError as FetchErrorRecord
from sandbox.protocol import END, Frame, FrameType, decode_credit, encode
from sandbox.runtime.channel import Channel, IncomingBody, OutgoingBody

if TYPE_CHECKING:
    from sandbox.runtime.context import Invocation


class FetchError(OSError):
    """A subrequest got no answer. ``code`` says why in one stable word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SubrequestLimitExceeded(RuntimeError):
    """The invocation has made as many subrequests as its plan allows."""

    code = "subrequest_limit"

    def __init__(self) -> None:
        super().__init__("Too many subrequests by single Worker invocation.")


class Subrequest:
    """One request of the tenant's to the outside, from FETCH to the end of the answer's body."""

    def __init__(self, channel: Channel, stream: int, invocation: Invocation) -> None:
        self.stream = stream
        self.invocation = invocation
        self.sending = OutgoingBody(channel, stream)
        self.body = IncomingBody(channel, stream, ended=False)
        self.answer: asyncio.Future[FetchedHead] = asyncio.get_running_loop().create_future()
        self.upload: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """The gateway will send nothing more on this stream."""
        return self.body.ended

    def fail(self, error: BaseException) -> None:
        """End it: raise ``error`` where the answer or its body is awaited."""
        if self.answer.done():
            self.body.fail(error)
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # nobody may be waiting for it: that is no news
        self.close()

    def close(self) -> None:
        """Stop sending the body."""
        self.sending.close()
        if self.upload is not None:
            self.upload.cancel()


class Subrequests:
    """Every subrequest under way, by its odd stream."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._open: dict[int, Subrequest] = {}
        self._next_stream = 1
        self.standing = False
        """The loop stands still: no task can send a body."""

    async def fetch(
        self,
        invocation: Invocation,
        target: tuple[str, str, HeaderList, str],
        body: bytes | AsyncIterable[bytes],
    ) -> tuple[FetchedHead, IncomingBody]:
        """Send ``(method, url, headers, redirect)`` and a body; return the answer's head and body.

        Raises FetchError, or SubrequestLimitExceeded.
        """
        method, url, headers, redirect = target
        if len(headers) > MAX_FIELDS or len(method) > MAX_NAME:
            raise ValueError(f"a request has a short method and at most {MAX_FIELDS} header fields")
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        subrequest = Subrequest(self._channel, stream, invocation)
        self._open[stream] = subrequest
        head = FetchHead(invocation.stream, method, url, headers, redirect)
        if not body:
            self._channel.send(encode_struct(FrameType.FETCH, stream, head, END))
            subrequest.sending.ended = True
        elif isinstance(body, bytes) and subrequest.sending.fits(len(body)):
            frame = encode_struct(FrameType.FETCH, stream, head)
            self._channel.send(frame + subrequest.sending.frame(body))
        elif isinstance(body, bytes) and self.standing:
            self._channel.send(encode_struct(FrameType.FETCH, stream, head))
            subrequest.sending.write_blocking(body, end=True)
        else:
            self._channel.send(encode_struct(FrameType.FETCH, stream, head))
            loop = asyncio.get_running_loop()
            subrequest.upload = loop.create_task(self._upload(subrequest, body))
        try:
            return await subrequest.answer, subrequest.body
        except BaseException:
            self._cancel(subrequest)
            raise

    async def _upload(self, subrequest: Subrequest, body: bytes | AsyncIterable[bytes]) -> None:
        try:
            if isinstance(body, bytes):
                await subrequest.sending.write(body, end=True)
                return
            async for chunk in body:
                await subrequest.sending.write(bytes(chunk))
            await subrequest.sending.write(b"", end=True)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._cancel(subrequest)
            subrequest.upload = None
            subrequest.fail(error)

    def on_frame(self, frame: Frame) -> None:
        """Take a frame of the gateway's on an odd stream."""
        subrequest = self._open.get(frame.stream)
        if subrequest is None:
            return
        if frame.type == FrameType.BODY:
            subrequest.body.feed(frame.payload, ended=bool(frame.flags & END))
        elif frame.type == FrameType.CREDIT:
            subrequest.sending.grant(decode_credit(frame.payload))
        elif frame.type == FrameType.FETCHED:
            if not subrequest.answer.done():
                subrequest.answer.set_result(decode_struct(FetchedHead, frame.payload))
            subrequest.body.feed(b"", ended=bool(frame.flags & END))
        elif frame.type == FrameType.FETCH_ERROR:
            del self._open[frame.stream]
            subrequest.fail(_as_error(decode_struct(FetchErrorRecord, frame.payload)))
            return
        if subrequest.over:
            del self._open[frame.stream]
            subrequest.close()

    def abandon(self, invocation: Invocation) -> None:
        """Cancel what an invocation that is over has left open."""
        if self._open:
            for subrequest in list(self._open.values()):
                if subrequest.invocation is invocation:
                    self._cancel(subrequest)
                    subrequest.fail(FetchError("invocation_over", "The invocation is over."))

    def _cancel(self, subrequest: Subrequest) -> None:
        if self._open.pop(subrequest.stream, None) is not None:
            self._channel.send(encode(FrameType.CANCEL, subrequest.stream))


def _as_error(record: FetchErrorRecord) -> Exception:
    if record.code == SubrequestLimitExceeded.code:
        return SubrequestLimitExceeded()
    return FetchError(record.code, record.message)
