"""Who burns gives way: long computations of one tenant do not hold up the short ones of others.

What is seen to compute for long at a stretch gets a small share of a core that others want, is
interrupted by whoever wakes, and gets all of a core that nobody wants, until it has not done so for
a while. Many short requests in a row do not count: their instance rests in between, and others get
their turn then.

Each process is born with long turns, in which whoever wakes interrupts it, and has usual ones once
it has answered a request quickly: who starts, or burns from the first request on, holds up nobody.
"""

from __future__ import annotations

from typing import Final, Protocol

STRETCH_NS: Final = 3_000_000
"""CPU time since a request last came or went: beyond, what runs is no short request."""
MEMORY_NS: Final = 1_000_000_000
TRIALS: Final = 3
"""Being jailed, loading, and the first request."""


class Courteous(Protocol):
    """A process that can be made to give way."""

    def delayed_ns(self) -> int:
        """How long it has waited for a core so far."""

    def give_way(self, on: bool) -> None:
        """Let others go first, or stop doing so."""


class Courtesy:
    """Decides for one process."""

    def __init__(self, process: Courteous) -> None:
        self._process = process
        self._seen_at_ns = 0
        self._seen_cpu_ns = 0
        self._seen_delayed_ns = 0
        self._until_ns = 0
        """It gives way until then at least (monotonic); 0: it does not."""
        self._held_up_ns = 0
        """How long it had waited for a core when it began to give way, or was asked last."""
        self._trials = TRIALS
        """What it has yet to do quickly to be thought quick."""

    def begin(self, now_ns: int, cpu_ns: int) -> None:
        """A request comes to a process that had none."""
        used_ns = cpu_ns - self._seen_cpu_ns
        self._seen_at_ns, self._seen_cpu_ns = now_ns, cpu_ns
        self._seen_delayed_ns = 0
        if self._until_ns:
            if now_ns > self._until_ns:
                self._until_ns = 0
                self._process.give_way(False)
            else:
                self._held_up_ns = self._process.delayed_ns()
        elif self._trials:
            self._try(used_ns)

    def _try(self, used_ns: int) -> None:
        """It has used so much for what it did last."""
        if self._trials > 1:
            self._trials -= 1
        elif used_ns < STRETCH_NS:
            self._trials = 0
            self._process.give_way(False)

    def held_up_ns(self) -> int:
        """How long it has waited for a core because it gave way, since this was asked last."""
        if not self._until_ns:
            return 0
        before_ns, self._held_up_ns = self._held_up_ns, self._process.delayed_ns()
        return max(0, self._held_up_ns - before_ns)

    def look(self, now_ns: int, cpu_ns: int, stretch_ns: int) -> None:
        """The process has used ``stretch_ns`` of ``cpu_ns`` since a request last came or went."""
        waited_ns, used_ns = now_ns - self._seen_at_ns, cpu_ns - self._seen_cpu_ns
        self._seen_at_ns, self._seen_cpu_ns = now_ns, cpu_ns
        if stretch_ns <= STRETCH_NS:
            self._seen_delayed_ns = 0
            if self._trials == 1:
                self._try(stretch_ns)
        elif used_ns and self._burns(waited_ns, used_ns):
            self._trials = 0
            if not self._until_ns:
                self._process.give_way(True)
                self._held_up_ns = self._process.delayed_ns()
            self._until_ns = now_ns + MEMORY_NS

    def _burns(self, waited_ns: int, used_ns: int) -> bool:
        """Whether it had something to compute for most of the time since it was looked at last."""
        # Of one that gives way already little is asked: others may have had the core.
        if self._until_ns or 2 * used_ns > waited_ns:
            return True
        before_ns, self._seen_delayed_ns = self._seen_delayed_ns, self._process.delayed_ns()
        # It may have had too many beside it to get half of a core. Nothing is known of delays when
        # none were read the last time.
        delayed_ns = self._seen_delayed_ns - before_ns if before_ns else 0
        return 8 * used_ns > waited_ns and 2 * (used_ns + delayed_ns) > waited_ns
