"""WebSockets as the corridor sees them: parts of messages both ways, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec

from sandbox.payloads import Close

OPEN_SOCKET: Final = "waypost.open_socket"
"""Key of the ASGI scope under which the control API finds an :class:`Opener`."""


class Part(NamedTuple):
    """Some bytes of one message; text is UTF-8, though a part may end inside a character."""

    text: bool
    data: bytes
    last: bool


class Traffic(msgspec.Struct, rename="camel"):
    """What one WebSocket has carried, for its record."""

    messages_in: int = 0
    """From the client."""
    messages_out: int = 0
    close_code: int = 0
    """0 while it is open."""


class Pace(Protocol):
    """How fast what a client sends is read, beside what others send."""

    def passes(self, go: Callable[[], None]) -> bool:
        """Whether to read now; otherwise ``go`` is called when it is time."""

    def spent(self, frames: int) -> None:
        """So many frames were read."""


class Unpaced:
    """As fast as it comes."""

    def passes(self, go: Callable[[], None]) -> bool:
        """Always now."""
        return True

    def spent(self, frames: int) -> None:
        """Nobody counts them."""


UNPACED: Final = Unpaced()


class Socket(Protocol):
    """The client's end of an open WebSocket."""

    pace: Pace
    """Asked before frames are read."""
    pinged: bool
    """A ping has come from the client since this was last put out."""

    over: Close | None
    """How the client ended it; known before what it sent has all been received."""
    on_over: Callable[[], None]
    """Called when it is over."""

    async def receive(self) -> Part | Close:
        """What the client sends next; a Close is the last."""

    async def send(self, part: Part) -> None:
        """Send; returns when the client's connection can take more. Dropped once it is closing."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; ``receive`` ends soon, whether the client answers or not."""


class Opener(Protocol):
    """A request of the control API that may become a WebSocket."""

    @property
    def protocols(self) -> tuple[bytes, ...]:
        """The subprotocols that the client speaks."""

    def open(self, protocol: str, max_message: int, *, masked: bool) -> Socket:
        """Become one, speaking ``protocol`` unless it is empty.

        ``masked``: whether what the client sends has to be masked, as RFC 6455 has it.
        """
