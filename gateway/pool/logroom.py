"""How much of what an instance logs is held, until its invocations are over."""

from __future__ import annotations

LOG_BYTES = 256 * 1024
"""Log data kept of one invocation; the rest is dropped and said."""
LOG_PARTS = 16 * 1024
"""Records, and values in them, kept of one invocation: one byte on the wire may be a hundred in
memory."""
ROOM_BYTES = 16 * LOG_BYTES
ROOM_PARTS = 4 * LOG_PARTS
"""The same for all invocations of one instance together."""


class LogRoom:
    """What the invocations in flight of one instance hold together."""

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.size = 0
        self.parts = 0


class Holding:
    """What one invocation holds of the room."""

    __slots__ = ("_room", "parts", "size")

    def __init__(self, room: LogRoom) -> None:
        self._room = room
        self.size = 0
        self.parts = 0

    def fits(self, size: int, parts: int = 0) -> bool:
        """So much more may be held."""
        room = self._room
        return (
            self.size + size <= LOG_BYTES
            and self.parts + parts <= LOG_PARTS
            and room.size + size <= ROOM_BYTES
            and room.parts + parts <= ROOM_PARTS
        )

    def add(self, size: int, parts: int) -> None:
        """Hold so much more."""
        self.size += size
        self.parts += parts
        self._room.size += size
        self._room.parts += parts

    def release(self) -> None:
        """Hold nothing any more."""
        self._room.size -= self.size
        self._room.parts -= self.parts
        self.size = self.parts = 0


def count_parts(values: list[object], limit: int) -> int:
    """Values in ``values`` and in the lists and mappings below; stops counting above ``limit``."""
    count, waiting = 0, [values]
    while waiting and count <= limit:
        below = waiting.pop()
        count += len(below)
        for item in below:
            if isinstance(item, list):
                waiting.append(item)
            elif isinstance(item, dict):
                # A key and the mapping's own table take as much as two values.
                count += 2 * len(item)
                waiting.append(list(item.values()))
    return count
