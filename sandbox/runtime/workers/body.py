"""Bodies: read once, whole or in chunks, from bytes, the wire or an iterator."""

from __future__ import annotations

import builtins
import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from sandbox.runtime.channel import IncomingBody

if TYPE_CHECKING:
    from sandbox.runtime.headers import Headers

    from .forms import Blob, FormData

Source = bytes | IncomingBody | AsyncIterable[Any] | Iterable[Any] | None


class BodyStream:
    """A body as an asynchronous iterator of bytes."""

    def __init__(self, owner: Body) -> None:
        self._owner = owner

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._owner.take_chunks()


class Body:
    """What Request and Response share: a body that is consumed once."""

    _source: Source = None
    _used = False

    @property
    def headers(self) -> Headers:
        """The headers that describe the body."""
        raise NotImplementedError

    @property
    def body(self) -> BodyStream | None:
        """The body as an asynchronous iterator of bytes, None when there is none."""
        return None if self._source is None else BodyStream(self)

    @property
    def body_used(self) -> bool:
        """Whether the body has been consumed."""
        return self._used

    bodyUsed = body_used  # noqa: N815 - Cloudflare's spelling

    @property
    def js_object(self) -> Self:
        """The object itself: there is no JavaScript below it."""
        return self

    async def bytes(self) -> builtins.bytes:
        """Read the whole body."""
        whole = self.take_whole()
        if whole is not None:
            return whole
        return b"".join([chunk async for chunk in self.take_chunks()])

    async def buffer(self) -> builtins.bytes:
        """Read the whole body."""
        return await self.bytes()

    async def text(self) -> str:
        """Read the whole body as UTF-8."""
        return (await self.bytes()).decode("utf-8", "replace")

    async def json(self, **options: Any) -> Any:
        """Read the whole body as JSON; options go to ``json.loads``."""
        return json.loads(await self.bytes(), **options)

    async def blob(self) -> Blob:
        """Read the whole body as a Blob of its Content-Type."""
        from .forms import Blob  # noqa: PLC0415 - forms build on bodies

        return Blob([await self.bytes()], content_type=self.headers.get("content-type", ""))

    async def form_data(self) -> FormData:
        """Read the whole body as a form, URL-encoded or multipart."""
        from .forms import parse_form  # noqa: PLC0415 - forms build on bodies

        return parse_form(self.headers.get("content-type", ""), await self.bytes())

    formData = form_data  # noqa: N815 - Cloudflare's spelling

    def take_whole(self) -> builtins.bytes | None:
        """Consume a body that is in memory; None when it has to be streamed."""
        source = self._source
        if source is not None and not isinstance(source, bytes):
            return None
        self._use()
        return source or b""

    def take_chunks(self) -> AsyncGenerator[builtins.bytes, None]:
        """Consume the body chunk by chunk."""
        self._use()
        return chunks_of(self._source)

    def take_plain(self) -> Iterator[builtins.bytes] | None:
        """Consume a body that a synchronous iterator yields; None when it is no such body."""
        source = self._source
        if source is None or isinstance(source, builtins.bytes | IncomingBody | AsyncIterable):
            return None
        self._use()
        return plain_chunks(source)

    def hand_over(self) -> Source:
        """Give the body to another owner; here it counts as used."""
        self._use()
        return self._source

    def split(self) -> Source:
        """Make the body readable twice; return the other reader's source."""
        if self._used:
            raise OSError("Body already used")
        if self._source is None or isinstance(self._source, bytes):
            return self._source
        tee = _Tee(chunks_of(self._source))
        self._source = tee.branch(0)
        return tee.branch(1)

    def _use(self) -> None:
        if self._used:
            raise OSError("Body already used")
        self._used = self._source is not None


async def chunks_of(source: Source) -> AsyncGenerator[bytes, None]:
    """Iterate over any body source."""
    if source is None:
        return
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, IncomingBody):
        while chunk := await source.read_chunk():
            yield chunk
    elif isinstance(source, AsyncIterable):
        try:
            async for item in source:
                yield as_chunk(item)
        finally:
            if (close := getattr(source, "aclose", None)) is not None:
                await close()
    else:
        for chunk in plain_chunks(source):
            yield chunk


def plain_chunks(source: Iterable[Any]) -> Iterator[bytes]:
    """Iterate over a synchronous body source, and close it afterwards."""
    try:
        for item in source:
            yield as_chunk(item)
    finally:
        if (close := getattr(source, "close", None)) is not None:
            close()


def as_chunk(item: Any) -> bytes:
    """Make bytes of what a streaming body yielded. Raises TypeError."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytearray | memoryview):
        return bytes(item)
    raise TypeError(f"a streaming body yielded {type(item).__name__}, expected bytes or str")


class _Tee:
    """One source, two readers; what only one has read is kept for the other."""

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        self._source = source
        self._kept: tuple[list[bytes], list[bytes]] = ([], [])
        self._over = False

    async def branch(self, side: int) -> AsyncGenerator[bytes, None]:
        mine, other = self._kept[side], self._kept[1 - side]
        while True:
            if mine:
                yield mine.pop(0)
                continue
            if self._over:
                return
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self._over = True
                return
            other.append(chunk)
            yield chunk
