"""How much of a message a connection takes that is not complete, or framing and no content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from gateway.edge.chunks import ChunkHeads, check_trailer
from gateway.edge.cycle import ANNOUNCED
from gateway.edge.headers import MAX_HEADER_BYTES, MAX_HEADERS
from gateway.edge.patience import PatientProtocol
from gateway.edge.target import MAX_URL
from gateway.edge.unfinished import FREE, unfinished_of
from gateway.errors import BadRequest, BodyTooLarge, HeadersTooLarge, UrlTooLong
from gateway.model.neighbours import neighbourhood

if TYPE_CHECKING:
    from gateway.model.http import HeaderList

MAX_HEAD: Final = MAX_URL + MAX_HEADER_BYTES + 16 * 1024
"""Bytes of a head that may arrive without its end in sight."""
MAX_OVERHEAD: Final = 64 * 1024
"""Bytes of chunk sizes, extensions and trailers, beyond a fair share of the body they frame."""
FAIR_SHARE: Final = 16
"""Bytes of chunk framing that each body byte may come with."""
MAX_CHUNK: Final = 1 << 50
"""Bytes that a chunk may announce, whoever is asked."""


class BoundedProtocol(PatientProtocol):
    """Refuses a client that is patient itself, and has much to say."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.url = b""
        self.headers: HeaderList = []
        self._head_bytes = 0
        """Of the head that is not complete."""
        self._unfinished = unfinished_of(self.server_state)
        self._held_as = ""
        self._overhead = 0
        self._chunks: ChunkHeads | None = None
        """Of the body at hand, where it comes in chunks."""

    # Heads

    def _bound_head(self, size: int) -> None:
        """So many bytes came, and the head is not complete."""
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            if self.headers or not self.url:
                self._refuse(HeadersTooLarge(f"A head may be {MAX_HEAD} bytes long."))
            else:
                self._refuse(UrlTooLong(f"A URL may be {MAX_URL} bytes long."))
        elif len(self.headers) > MAX_HEADERS:
            # Each takes far more memory than the bytes that it came in.
            self._refuse(HeadersTooLarge(f"A request may have {MAX_HEADERS} header fields."))
        else:
            if self._head_deadline is None:
                self._await_head()
            if self._head_bytes > FREE:
                self._held_as = neighbourhood(self.client[0]) if self.client else ""
                self._unfinished.hold(self._held_as, self, self._head_bytes)

    def head_is_too_much(self) -> None:
        """Refuse the head that comes, for the sake of others."""
        self._refuse(HeadersTooLarge("Too many large heads come at a time, and are not complete."))

    def _end_head(self) -> None:
        """The head is complete, or nobody waits for it any more."""
        if self._head_bytes > FREE:
            self._unfinished.release(self._held_as, self)
            self._bulky = True
        self._head_bytes = 0

    def _give_up(self) -> None:
        self._end_head()
        super()._give_up()

    # Bodies

    def _begin_body(self, *, chunked: bool) -> None:
        self._overhead = 0
        self._chunks = ChunkHeads() if chunked else None

    def _bound_body(self, data: bytes, framing: int) -> None:
        """The body is not complete; ``framing`` bytes of what came are counted as such at first."""
        self._body_moved = True
        self._overhead = max(0, self._overhead + framing)
        if self._overhead > MAX_OVERHEAD:
            self._refuse(BadRequest("The body's chunks are more framing than content."))
            return
        if self._body_deadline is None:
            self._await_body()
        if self._chunks is not None:
            self._tell_announced(self._chunks.announced(data))

    def _count_body(self, size: int) -> None:
        """So many bytes of it were content."""
        self._overhead -= (FAIR_SHARE + 1) * size
        if self._chunks is not None:
            self._chunks.came(size)

    def _tell_announced(self, size: int) -> None:
        """A chunk of that many bytes is coming: who reads the body need not wait to refuse it."""
        if size > MAX_CHUNK:
            self._refuse(BodyTooLarge("A chunk of the body is longer than any body may be."))
        elif size and not self.cycle.response_complete:
            cast("dict[str, Any]", self.cycle.scope)[ANNOUNCED] = size
            self.cycle.message_event.set()

    def _look_at_trailer(self, name: bytes) -> None:
        """A field came after the body."""
        try:
            check_trailer(name)
        except BadRequest as refusal:
            if not self._deaf:
                self._refuse(refusal)

    # What the parser found

    def on_chunk_header(self) -> None:
        """A chunk begins; the last one has no bytes."""
        if self._chunks is not None:
            self._chunks.begin()

    def on_chunk_complete(self) -> None:
        """A chunk is complete."""
        if self._chunks is not None:
            self._chunks.end()
