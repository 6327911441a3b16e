"""One timer for all meters of an event loop: looks at each when its limit could be near.

A meter is armed when work is put in and looked at when that work could first have used up its
budget with every core burning; short work ends long before, and costs nothing here.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from typing import TYPE_CHECKING

from sandbox.supervisor.stolen import StolenTime, take_short_turns
from sandbox.supervisor.timerfd import TimerFd

if TYPE_CHECKING:
    from sandbox.supervisor.meter import Meter


EARLY_NS = 1_000_000
"""Who would be looked at so soon after another is looked at with it: to wake costs more than to
look, and those who wait long come to be looked at together."""
STANDSTILL_NS = 250_000_000
"""Who looks so late has not run, nor have others, or has not read what they said meanwhile."""


class Watchdog:
    """Calls ``Meter.check`` in time. Belongs to the running event loop."""

    def __init__(self, stolen: StolenTime | None = None) -> None:
        self.stolen = stolen or StolenTime()
        self.cores = max(1, len(os.sched_getaffinity(0)))
        self._heap: list[tuple[int, int, Meter]] = []
        self._sequence = 0
        self._set_for_ns = 0
        self._timer = TimerFd()
        self._loop = asyncio.get_running_loop()
        take_short_turns()
        self._loop.add_reader(self._timer.fd, self._fire)

    def arm(self, meter: Meter, when_ns: int) -> None:
        """Look at ``meter`` at ``when_ns`` (monotonic), instead of when it was armed for before."""
        self._push(meter, when_ns)
        self._set(time.monotonic_ns())

    def close(self) -> None:
        """Stop looking."""
        self._loop.remove_reader(self._timer.fd)
        self._timer.close()
        self.stolen.close()
        self._heap.clear()

    def _push(self, meter: Meter, when_ns: int) -> None:
        self._sequence += 1
        meter.armed_for_ns = when_ns
        heapq.heappush(self._heap, (when_ns, self._sequence, meter))

    def _set(self, now_ns: int) -> None:
        when_ns = self._heap[0][0]
        if not self._set_for_ns or when_ns < self._set_for_ns:
            self._set_for_ns = when_ns
            self._timer.fire_in(when_ns - now_ns)

    def _fire(self) -> None:
        self._timer.clear()
        self._set_for_ns = 0
        now_ns = time.monotonic_ns()
        heap = self._heap
        if heap and now_ns - heap[0][0] > STANDSTILL_NS:
            self._forgive(now_ns - heap[0][0])
        last = self._sequence
        while heap and heap[0][0] <= now_ns + EARLY_NS and heap[0][1] <= last:
            when_ns, _, meter = heapq.heappop(heap)
            if meter.armed_for_ns != when_ns:
                continue  # It has been armed for another time since.
            wait_ns = meter.check(now_ns)
            if wait_ns is None:
                meter.armed_for_ns = 0
            else:
                self._push(meter, time.monotonic_ns() + wait_ns)
        if heap:
            self._set(time.monotonic_ns())

    def _forgive(self, late_ns: int) -> None:
        """Have nobody's wall time include that the node, or the machine below it, stood still."""
        for meter in {meter for _, _, meter in self._heap}:
            meter.put_off(late_ns)
