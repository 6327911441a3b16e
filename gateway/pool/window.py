"""How much of an answer may be on its way: credit for what the client has taken, and no more.

What waits for a client that reads slowly is held by the gateway, once for each such client. So an
answer has one window until its client is seen to take what comes, and two while it does; what was
written and waits for the client earns no credit before it is read.
"""

from __future__ import annotations

from typing import Final

from sandbox import protocol

FLOWING: Final = 4 << 20
"""Bytes that a client has taken without a pause before its answer has a second window."""


class Window:
    """The credit of one answer."""

    __slots__ = ("_consumed", "_debt", "_flowed", "_size", "crowded", "most")

    def __init__(self) -> None:
        self.crowded = False
        """What was sent waits for the client."""
        self.most = protocol.WINDOW
        """Bytes that may be held: a window that is taken back may be in use already."""
        self._size = protocol.WINDOW
        self._consumed = 0
        self._debt = 0
        """Credit that is to be kept, to take a window back."""
        self._flowed = 0
        """Bytes that went to the client since that had to wait."""

    def consume(self, size: int) -> int:
        """So many bytes are held no more; the credit that is to be given now."""
        self._consumed += size
        if self.crowded or self._consumed < self._size // 2:
            return 0
        kept = min(self._debt, self._consumed)
        credit, self._consumed = self._consumed - kept, 0
        self._debt -= kept
        self._size -= kept
        return credit

    def flow(self, size: int) -> int:
        """So many bytes went to the client as they came; the credit that is to be given now.

        What flows has a second window, so that its writer need not stand still for credit.
        """
        self._flowed += size
        if self._flowed >= FLOWING and self._size < 2 * protocol.WINDOW and not self.crowded:
            size += 2 * protocol.WINDOW - self._size
            self._size = self.most = 2 * protocol.WINDOW
            self._debt = 0
        return self.consume(size)

    def crowd(self) -> None:
        """What was sent waits for the client: the second window is taken back."""
        self.crowded = True
        self._flowed, self._debt = 0, self._size - protocol.WINDOW
