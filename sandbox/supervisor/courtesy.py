"""Who burns gives way: long computations of one tenant do not hold up the short ones of others.

What is seen to compute for long at a stretch gets a small share of a core that others want, is
interrupted by whoever wakes, and gets all of a core that nobody wants, until it has not done so for
a while. Many short requests in a row do not
count: their instance rests in between, and others get their turn then.
"""

from __future__ import annotations

from typing import Final, Protocol

STRETCH_NS: Final = 3_000_000
"""CPU time since a request last came or went: beyond, what runs is no short request."""
MEMORY_NS: Final = 1_000_000_000


class Courteous(Protocol):
    """A process that can be made to give way."""

    def give_way(self, on: bool) -> None:
        """Let others go first, or stop doing so."""


class Courtesy:
    """Decides for one process."""

    def __init__(self, process: Courteous) -> None:
        self._process = process
        self._seen_at_ns = 0
        self._seen_cpu_ns = 0
        self._until_ns = 0
        """It gives way until then at least (monotonic); 0: it does not."""

    def begin(self, now_ns: int, cpu_ns: int) -> None:
        """A request comes to a process that had none."""
        self._seen_at_ns, self._seen_cpu_ns = now_ns, cpu_ns
        if self._until_ns and now_ns > self._until_ns:
            self._until_ns = 0
            self._process.give_way(False)

    def look(self, now_ns: int, cpu_ns: int, stretch_ns: int) -> None:
        """The process has used ``stretch_ns`` of ``cpu_ns`` since a request last came or went."""
        waited_ns, used_ns = now_ns - self._seen_at_ns, cpu_ns - self._seen_cpu_ns
        self._seen_at_ns, self._seen_cpu_ns = now_ns, cpu_ns
        # Of one that gives way already little is asked: others may have had the core.
        burns = self._until_ns or 2 * used_ns > waited_ns
        if stretch_ns > STRETCH_NS and used_ns and burns:
            if not self._until_ns:
                self._process.give_way(True)
            self._until_ns = now_ns + MEMORY_NS
