"""What is done to instances from time to time: those that idle, burn or are outdated are let go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from gateway.pool.instance import Instance, State

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
IDLE_NS_A_LOOK = 5_000_000
"""CPU that an instance may burn between requests from one look to the next."""
IDLE_BURN_NS = 50_000_000
"""It may save up, or owe, this much."""
SWEEP_SECONDS = 1.0


class Upkeep:
    """Looks after the instances that are up."""

    def __init__(
        self,
        live: Callable[[], Iterable[Instance]],
        on_burnt: Callable[[Instance, int], None],
        *,
        idle_seconds: float,
    ) -> None:
        self._live = live
        self._on_burnt = on_burnt
        self._idle_seconds = idle_seconds
        self._burnt_ns: dict[Instance, int] = {}
        """What each has burnt between requests and not yet been forgiven."""
        self._seen: dict[Instance, tuple[int, int]] = {}
        """The CPU clock of each, and where it stood when last looked at."""

    async def run(self, sweep: Callable[[], None]) -> None:
        """Look for ever; call ``sweep`` each second."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()
            if time.monotonic() - last >= SWEEP_SECONDS:
                last = time.monotonic()
                sweep()

    def look(self) -> None:
        """End instances that burn CPU with nothing to do."""
        owed: dict[Instance, int] = {}
        seen: dict[Instance, tuple[int, int]] = {}
        for instance in list(self._live()):
            known = self._seen.get(instance)
            if known is not None and instance not in self._burnt_ns and _rests(*known):
                # As most do: nothing else of them is touched.
                seen[instance] = known
                continue
            if (burnt_ns := self._judge(instance)) > IDLE_NS_A_LOOK:
                owed[instance] = burnt_ns - IDLE_NS_A_LOOK
            seen[instance] = instance.sandbox.cpu_clock, instance.meter.last_cpu_ns
        self._burnt_ns, self._seen = owed, seen

    def _judge(self, instance: Instance) -> int:
        """End one that has burnt too much between requests; what it owes otherwise, ns."""
        burnt_ns = instance.meter.idle_burn_ns() + self._burnt_ns.get(instance, 0)
        if burnt_ns <= IDLE_BURN_NS or instance.state is not State.SERVING:
            return burnt_ns
        name = instance.version.key.name
        logger.warning("instance burnt CPU while idle", extra={"script": name})
        self._on_burnt(instance, burnt_ns)
        if instance.in_flight:
            instance.drain()
        else:
            instance.stop("burnt CPU while idle")
        return 0

    def sweep(self) -> None:
        """Let instances go that were idle for long, and one whose zygote was replaced."""
        horizon = time.monotonic() - self._idle_seconds
        serving = [i for i in self._live() if i.state is State.SERVING]
        for instance in serving:
            if not instance.in_flight and not instance.reserved and instance.idle_since < horizon:
                instance.drain()
        outdated = [i for i in serving if i.sandbox.outdated and i.state is State.SERVING]
        if outdated:
            # One after the other, idle ones first: their successors cost a start each.
            min(outdated, key=lambda i: (i.taken, i.idle_since)).drain()


def _rests(clock: int, stood_at_ns: int) -> bool:
    """Whether a process has used no CPU since its clock was last read, as far as can be told."""
    try:
        return time.clock_gettime_ns(clock) == stood_at_ns
    except OSError:
        return False
